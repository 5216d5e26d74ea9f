import errno
import os
from pathlib import Path

import pytest

from bridge.spool.files import Entry, OsFiles, sync_directory, write_all
from tests.kit.faulty_files import FaultyFiles


def test_reserving_sets_the_length_and_keeps_what_is_there(tmp_path: Path) -> None:
    files = OsFiles()
    fd = files.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    try:
        write_all(files, fd, b"abc", 0)
        files.fallocate(fd, 100_000)
        files.fallocate(fd, 10)
        assert os.fstat(fd).st_size == 100_000
        assert files.pread(fd, 5, 0) == b"abc\0\0"
        assert not os.get_inheritable(fd)
    finally:
        files.close(fd)


def test_a_directory_lists_regular_files_only(tmp_path: Path) -> None:
    files = OsFiles()
    files.mkdir(tmp_path / "folder")
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert files.listdir(tmp_path) == [Entry("a", 5)]
    sync_directory(files, tmp_path)


def test_the_lock_is_held_once(tmp_path: Path) -> None:
    files = OsFiles()
    first, second = (files.open(tmp_path / "LOCK", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert files.flock(first)
    assert not files.flock(second)
    files.close(first)
    assert files.flock(second)
    files.close(second)


def test_short_writes_are_finished() -> None:
    files = FaultyFiles()
    files.short_writes = True
    fd = files.open(Path("/a"), os.O_RDWR | os.O_CREAT)
    write_all(files, fd, b"0123456789" * 50, 3)
    assert files.content(Path("/a")) == b"\0\0\0" + b"0123456789" * 50


def test_a_write_that_takes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FaultyFiles()
    monkeypatch.setattr(files, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="no bytes") as caught:
        write_all(files, 3, b"x", 0)
    assert caught.value.errno == errno.ENOSPC
