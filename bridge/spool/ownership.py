"""One owner for the directory of a spool: makes it, with its parents, and locks it. Blocking."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from bridge.errors import SpoolLocked, SpoolUnusable
from bridge.spool.files import Files, write_all
from bridge.spool.opening import make_directory

LOCK_NAME = "LOCK"


class Ownership:
    """The lock on one directory; the system lets go of it when the process ends, however it ends."""

    def __init__(self, files: Files, path: Path) -> None:
        self._files = files
        self._path = path
        self._lock: int | None = None

    def take(self) -> OSError | None:
        """Makes the directory and takes the lock; returns why it cannot be written, if that is so.

        Raises:
            SpoolLocked: another process has it; the message names its pid.
            SpoolUnusable: the directory can neither be made nor used.
        """
        for parent in reversed(self._missing_parents()):
            make_directory(self._files, parent)
        trouble = make_directory(self._files, self._path)
        try:
            trouble = self._lock_file() or trouble
        except FileNotFoundError as error:
            # A file system that was read-only from the beginning: nobody else can write it either.
            trouble = error
        make_directory(self._files, self._path / "lanes") if trouble is None else None
        return trouble

    def _missing_parents(self) -> list[Path]:
        missing = []
        parent = self._path.absolute().parent
        while parent != parent.parent:
            try:
                self._files.close(self._files.open(parent, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                missing.append(parent)
                parent = parent.parent
            except OSError as error:
                raise SpoolUnusable(f"{parent} cannot be used for the spool: {error.strerror}") from error
            else:
                break
        return missing

    def _lock_file(self) -> OSError | None:
        path = self._path / LOCK_NAME
        trouble: OSError | None = None
        try:
            self._lock = self._files.open(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT}:
                raise SpoolUnusable(f"{path} cannot be opened: {error.strerror}") from error
            trouble = error
            self._lock = self._files.open(path, os.O_RDONLY)
        if not self._files.flock(self._lock):
            owner = self._files.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise SpoolLocked(
                f"{self._path} is in use by another process (pid {owner}): stop it first, or give this one a "
                "spool directory of its own"
            )
        if trouble is None:
            try:
                self._files.ftruncate(self._lock, 0)
                write_all(self._files, self._lock, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                trouble = error
        return trouble

    def release(self) -> None:
        """Lets go of the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                self._files.close(lock)
