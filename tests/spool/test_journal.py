import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.spool.envelope import State, pack_state
from bridge.spool.journal import NEXT, RESERVE, Group, Journal
from bridge.spool.layout import HEADER_SIZE, SEAL, Found, Item, parse_header, scan
from tests.kit.faulty_files import FaultyFiles

LOG = Path("/log")
SNAPSHOT = pack_state(State(0, {}, {}, True))


class Noted(FaultyFiles):
    """Notes the order of the calls that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.make(LOG)

    def _fault(self, call: str) -> None:
        if call in ("pwrite", "fdatasync", "rename", "fsync"):
            self.order.append(call)
        super()._fault(call)


def journal_on(files: FaultyFiles) -> Journal:
    return Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=0, offset=0)


def group(first: int, payloads: Sequence[bytes], *, snapshot: bool = False) -> Group:
    stop = first + len(payloads)
    return Group(first, stop, SNAPSHOT if snapshot else None, [Item(first, payloads, None)], 4096)


def payloads_in(files: FaultyFiles, name: str, salt: int) -> list[bytes | None]:
    data = files.content(LOG / name)
    found = [Found._make(one) for one in scan(lambda at, size: data[at : at + size], HEADER_SIZE, len(data), salt)]
    return [one.payload for one in found if one.kind == 1]


def test_a_segment_is_written_and_synced_before_it_gets_its_name() -> None:
    files = Noted()
    segment = journal_on(files).publish(group(0, [b"a", b"b"], snapshot=True))
    assert files.order == ["pwrite", "fdatasync", "rename", "fsync"]
    assert files.names(LOG) == [segment.name]
    header = parse_header(files.content(LOG / segment.name))
    assert header is not None
    assert (header.first, header.published, header.generation) == (0, 2, 1)
    assert payloads_in(files, segment.name, segment.salt) == [b"a", b"b"]


def test_adding_is_one_write_and_one_sync() -> None:
    files = Noted()
    journal = journal_on(files)
    segment = journal.publish(group(0, [b"a"], snapshot=True))
    files.order.clear()
    journal.extend(group(1, [b"%d" % number for number in range(100)]))
    assert files.order == ["pwrite", "fdatasync"]
    assert len(payloads_in(files, segment.name, segment.salt)) == 101


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_descriptor_that_failed_is_never_used_again(call: str) -> None:
    files = Noted()
    journal = journal_on(files)
    journal.publish(group(0, [b"a"], snapshot=True))
    files.faults[call] = [errno.EIO]
    with pytest.raises(OSError, match="Input/output"):
        journal.extend(group(1, [b"b"]))
    assert journal.active is None
    assert not journal.fits(1)
    assert files.open_descriptors == 0


@pytest.mark.parametrize("call", ["open", "fallocate", "pwrite", "fdatasync", "rename", "fsync"])
def test_every_attempt_has_a_generation_of_its_own_and_leaks_nothing(call: str) -> None:
    files = Noted()
    journal = journal_on(files)
    files.faults[call] = [errno.EIO]
    with pytest.raises(OSError, match="Input/output"):
        journal.publish(group(0, [b"a"], snapshot=True))
    assert files.open_descriptors == 0
    assert files.names(LOG) == []
    segment = journal.publish(group(0, [b"a"], snapshot=True))
    assert segment.generation == 2
    assert files.open_descriptors == 1


def test_a_full_disk_leaves_the_active_segment_its_reserve() -> None:
    files = Noted()
    journal = journal_on(files)
    segment = journal.publish(group(0, [b"a"], snapshot=True))
    journal.extend(group(1, [bytes(segment.size - journal.position - RESERVE - 32)]))
    assert not journal.fits(100)
    files.broken["fallocate"] = errno.ENOSPC
    with pytest.raises(OSError, match="No space"):
        journal.publish(group(2, [b"b"], snapshot=True))
    assert journal.fits_reserve(1000)
    journal.extend(Group(2, 2, SNAPSHOT, [], 100))


def test_nothing_is_added_behind_the_back_of_a_successor_that_may_be_seen() -> None:
    files = Noted()
    journal = journal_on(files)
    journal.publish(group(0, [b"a"], snapshot=True))
    files.faults["fsync"] = [errno.EIO]
    with pytest.raises(OSError, match="Input/output"):
        journal.publish(group(1, [b"b"], snapshot=True))
    assert journal.active is None


def test_the_seal_is_last_and_the_rest_is_given_back() -> None:
    files = Noted()
    journal = journal_on(files)
    segment = journal.publish(Group(0, 1, SNAPSHOT, [Item(0, [b"a"], None)], 100))
    journal.seal()
    data = files.content(LOG / segment.name)
    kinds = [one[2] for one in scan(lambda at, size: data[at : at + size], HEADER_SIZE, len(data), segment.salt)]
    assert SEAL in kinds
    assert files.open_descriptors == 0
    journal.seal()


def test_a_prepared_segment_is_used() -> None:
    files = Noted()
    journal = journal_on(files)
    journal.prepare()
    assert len(files.content(LOG / NEXT)) == 64 * 1024
    files.broken["create"] = errno.ENOSPC
    journal.publish(group(0, [b"a"], snapshot=True))


def test_trimming_gives_back_what_an_earlier_run_reserved() -> None:
    files = Noted()
    journal = Journal(files, LOG, SystemClock(), segment_bytes=1024 * 1024, generation=0, offset=0)
    segment = journal.publish(group(0, [b"a"], snapshot=True))
    journal.abandon()
    journal.trim(segment, 512)
    assert len(files.content(LOG / segment.name)) == segment.size == 512
    journal.remove(segment)
    journal.remove(segment)
    assert files.names(LOG) == []
