import errno
from pathlib import Path

from bridge.spool.quarantine import MAX_BYTES, MAX_FILES, MAX_RANGE, Quarantine
from tests.kit.faulty_files import FaultyFiles

FOLDER = Path("/log/quarantine")


def test_damaged_bytes_are_kept_once() -> None:
    files = FaultyFiles()
    files.make(FOLDER.parent)
    quarantine = Quarantine(files, FOLDER)
    quarantine.keep("0000000001-x.seg", 96, b"junk")
    quarantine.keep("0000000001-x.seg", 96, b"other")
    assert files.names(FOLDER) == ["0000000001-x-0000000096.bin"]
    assert files.content(FOLDER / files.names(FOLDER)[0]) == b"junk"


def test_its_space_is_bounded() -> None:
    files = FaultyFiles()
    files.make(FOLDER.parent)
    quarantine = Quarantine(files, FOLDER)
    for number in range(2 * MAX_FILES):
        quarantine.keep("a.seg", number, bytes(2 * MAX_RANGE))
    kept = files.listdir(FOLDER)
    assert len(kept) <= MAX_FILES
    assert sum(entry.size for entry in kept) <= MAX_BYTES


def test_a_disk_that_refuses_is_no_error() -> None:
    files = FaultyFiles()
    files.broken["mkdir"] = errno.EROFS
    Quarantine(files, FOLDER).keep("a.seg", 0, b"junk")
