"""Where an export goes: to standard output, or into a file that is there when it is complete."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bridge.errors import CommandFailed


@contextmanager
def output(name: str | None) -> Iterator[BinaryIO]:
    """The stream to write to; when it ends in order, a file is on the disk under its name.

    Raises:
        CommandFailed: the file cannot be written; what had its name before is still there.
    """
    if name is None or name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists() and not path.is_file():
        with _said(path), path.open("wb") as stream:
            yield stream
        return
    part = path.with_name(f"{path.name}.part")
    with _said(path):
        try:
            with part.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
            _sync_directory(path.parent)
        finally:
            with suppress(OSError):
                part.unlink()


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror or error}") from error


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
