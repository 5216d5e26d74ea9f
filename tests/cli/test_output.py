"""An export is there under its name when it is complete, and what was there before is not lost by a failure."""

import stat
from pathlib import Path

import pytest

from bridge.cli.output import output
from bridge.errors import CommandFailed


def write(name: str, data: bytes, error: BaseException | None = None) -> None:
    with output(name) as stream:
        stream.write(data)
        if error is not None:
            raise error


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with output(str(path)) as stream:
        stream.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert [*tmp_path.iterdir()] == [path]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write(str(path), b"after", KeyboardInterrupt())
    assert path.read_bytes() == b"before"
    assert [*tmp_path.iterdir()] == [path]


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="out cannot be written: No space left"):
        write(str(tmp_path / "out"), b"x", OSError(28, "No space left on device"))


def test_whoever_reads_no_more_is_no_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError):
        write(str(tmp_path / "out"), b"x", BrokenPipeError())


def test_what_is_no_file_stays_what_it_is() -> None:
    write("/dev/null", b"x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
