import errno
import os
from pathlib import Path

import pytest

from bridge.spool.layout import HEADER_SIZE, Encoder, Item, Segment
from bridge.spool.reading import Place, Reading
from tests.kit.faulty_files import FaultyFiles

PATH = Path("/log/segment")
SALT = 5
COUNT = 200


def written() -> tuple[FaultyFiles, int]:
    encoder = Encoder(SALT, 0, 0)
    encoder.items([Item(0, [b"%03d" % number + bytes(97) for number in range(COUNT)], None)], 0)
    data = bytes(HEADER_SIZE) + encoder.joined()
    files = FaultyFiles()
    files.make(PATH.parent)
    files.put(PATH, data)
    return files, len(data)


def reading(files: FaultyFiles, end: int, *, want: int = 0, budget: int = 1 << 20, final: bool = False) -> Reading:
    place = Place(1, HEADER_SIZE, 0)
    return Reading(files, PATH, Segment(1, 0, SALT, end), place, want, COUNT, end, budget, final)


def test_records_come_from_the_wanted_one_on() -> None:
    files, end = written()
    chunk = reading(files, end, want=150).run()
    assert chunk.offsets == list(range(150, COUNT))
    assert [payload[:3] for payload in chunk.payloads] == [b"%03d" % number for number in range(150, COUNT)]
    assert chunk.damage == []


def test_a_budget_ends_a_read_and_the_place_continues_it() -> None:
    files, end = written()
    first = reading(files, end, budget=1000).run()
    assert 5 <= len(first.offsets) < 20
    assert first.place is not None
    rest = Reading(
        files, PATH, Segment(1, 0, SALT, end), first.place, first.next, COUNT, end, 1 << 20, False
    ).run()
    assert first.offsets + rest.offsets == list(range(COUNT))


def test_a_damaged_sector_takes_the_records_it_touches_and_is_kept() -> None:
    files, end = written()
    files.corrupt(PATH, 4096, b"\xee" * 512)
    chunk = reading(files, end).run()
    lost = [offset for damage in chunk.damage for offset in range(damage.first, damage.stop)]
    assert sorted(chunk.offsets + lost) == list(range(COUNT))
    assert 3 <= len(lost) <= 6
    assert any(b"\xee" * 100 in damage.data for damage in chunk.damage)


def test_a_wiped_end_is_damage_up_to_the_last_offset() -> None:
    files, end = written()
    files.corrupt(PATH, end - 1360, bytes(1360))
    chunk = reading(files, end).run()
    assert [(damage.first, damage.stop) for damage in chunk.damage] == [(190, 200)]
    assert chunk.next == COUNT


def test_a_file_that_is_gone_is_damage_at_once() -> None:
    files, end = written()
    files.unlink(PATH)
    chunk = reading(files, end, want=3).run()
    assert [(damage.first, damage.stop) for damage in chunk.damage] == [(3, COUNT)]


@pytest.mark.parametrize("call", ["open", "pread"])
def test_a_disk_that_is_away_is_no_damage_before_the_last_try(call: str) -> None:
    files, end = written()
    files.broken[call] = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        reading(files, end).run()
    chunk = reading(files, end, final=True).run()
    assert [(damage.first, damage.stop) for damage in chunk.damage] == [(0, COUNT)]
    assert files.open_descriptors == 0


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.ENODEV])
@pytest.mark.parametrize("call", ["open", "pread"])
def test_what_says_nothing_about_the_medium_is_never_damage(call: str, code: int) -> None:
    files, end = written()
    files.broken[call] = code
    with pytest.raises(OSError, match=os.strerror(code)):
        reading(files, end, final=True).run()
    assert files.open_descriptors == 0


def test_one_bad_block_is_read_around() -> None:
    files, end = written()
    plain = files.pread

    def bad_block(fd: int, size: int, position: int) -> bytes:
        if position < 12288 and position + size > 8192:
            raise OSError(errno.EIO, "Input/output error")
        return plain(fd, size, position)

    files.pread = bad_block  # type: ignore[method-assign]
    chunk = reading(files, end).run()
    lost = COUNT - len(chunk.offsets)
    assert 4096 // 136 <= lost <= 4096 // 136 + 2


def test_a_gap_that_is_known_is_no_alarm() -> None:
    encoder = Encoder(SALT, 0, 0)
    encoder.items([Item(0, [b"a"], None), Item(5, [b"b"], None)], 0)
    files = FaultyFiles()
    files.make(PATH.parent)
    files.put(PATH, bytes(HEADER_SIZE) + encoder.joined())
    end = HEADER_SIZE + len(encoder.joined())
    chunk = Reading(files, PATH, Segment(1, 0, SALT, end), Place(1, HEADER_SIZE, 0), 0, 6, end, 1000, False).run()
    assert chunk.offsets == [0, 5]
    assert [(damage.first, damage.stop, damage.known) for damage in chunk.damage] == [(1, 5, True)]
