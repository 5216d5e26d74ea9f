"""The only door of the spool to the disk, so that faults and power cuts can be played."""

import ctypes
import errno
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750
_NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file of a directory.

    Attributes:
        name: its name in the directory.
        size: its length in bytes.
    """

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Space:
    """The room of a file system.

    Attributes:
        free: bytes that an ordinary user may still write.
        size: bytes in all.
    """

    free: int
    size: int


class Files(Protocol):
    """File access. Every call may block and may raise ``OSError``; never called on the event loop."""

    def open(self, path: Path, flags: int) -> int:
        """The system call ``open``, close-on-exec, mode 0640; a directory is opened with ``os.O_RDONLY``."""
        ...

    def close(self, fd: int) -> None:
        """The system call ``close``."""
        ...

    def pread(self, fd: int, size: int, position: int) -> bytes:
        """The system call ``pread``: at most ``size`` bytes, fewer at the end of the file."""
        ...

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:
        """The system call ``pwrite``: how many bytes were written; may be fewer than given."""
        ...

    def fdatasync(self, fd: int) -> None:
        """The system call ``fdatasync``: the bytes, and as much of the length as they need, are durable."""
        ...

    def fsync(self, fd: int) -> None:
        """The system call ``fsync``; on a directory: its entries are durable."""
        ...

    def fallocate(self, fd: int, size: int) -> None:
        """Reserves blocks and sets the length to at least ``size``; nothing where that is not supported."""
        ...

    def ftruncate(self, fd: int, size: int) -> None:
        """The system call ``ftruncate``."""
        ...

    def flock(self, fd: int) -> bool:
        """Takes the exclusive lock without waiting; False when another process holds it."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """The system call ``rename``."""
        ...

    def unlink(self, path: Path) -> None:
        """The system call ``unlink``."""
        ...

    def mkdir(self, path: Path) -> None:
        """The system call ``mkdir``, mode 0750."""
        ...

    def listdir(self, path: Path) -> Sequence[Entry]:
        """The regular files in a directory, in any order."""
        ...

    def folders(self, path: Path) -> Sequence[str]:
        """The names of the directories in a directory, in any order."""
        ...

    def rmdir(self, path: Path) -> None:
        """The system call ``rmdir``."""
        ...

    def space(self, path: Path) -> Space:
        """The room of the file system that ``path`` is on: the system call ``statvfs``."""
        ...


class OsFiles:
    """The files of the operating system."""

    def open(self, path: Path, flags: int) -> int:  # noqa: D102 - the protocol says it
        return os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)

    def close(self, fd: int) -> None:  # noqa: D102
        os.close(fd)

    def pread(self, fd: int, size: int, position: int) -> bytes:  # noqa: D102
        return os.pread(fd, size, position)

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:  # noqa: D102
        return os.pwrite(fd, data, position)

    def fdatasync(self, fd: int) -> None:  # noqa: D102
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:  # noqa: D102
        os.fsync(fd)

    def fallocate(self, fd: int, size: int) -> None:  # noqa: D102
        # Not os.posix_fallocate: where the file system lacks it, glibc writes into every block instead.
        while _fallocate(fd, 0, 0, size) != 0:
            code = ctypes.get_errno()
            if code == errno.EINTR:
                continue
            if code in _NOT_SUPPORTED:
                return
            raise OSError(code, os.strerror(code))

    def ftruncate(self, fd: int, size: int) -> None:  # noqa: D102
        os.ftruncate(fd, size)

    def flock(self, fd: int) -> bool:  # noqa: D102
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        os.rename(old, new)  # noqa: PTH104 - Path.rename adds nothing but a result

    def unlink(self, path: Path) -> None:  # noqa: D102
        os.unlink(path)  # noqa: PTH108 - likewise

    def mkdir(self, path: Path) -> None:  # noqa: D102
        os.mkdir(path, _DIRECTORY_MODE)  # noqa: PTH102 - likewise

    def listdir(self, path: Path) -> Sequence[Entry]:  # noqa: D102
        with os.scandir(path) as entries:
            return [
                Entry(entry.name, entry.stat(follow_symlinks=False).st_size)
                for entry in entries
                if entry.is_file(follow_symlinks=False)
            ]

    def folders(self, path: Path) -> Sequence[str]:  # noqa: D102
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def rmdir(self, path: Path) -> None:  # noqa: D102
        os.rmdir(path)  # noqa: PTH106 - likewise

    def space(self, path: Path) -> Space:  # noqa: D102
        found = os.statvfs(path)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


_libc = ctypes.CDLL(None, use_errno=True)
# On 32-bit machines plain fallocate takes a 32-bit length.
_fallocate = getattr(_libc, "fallocate64", None) or _libc["fallocate"]
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def write_all(files: Files, fd: int, data: bytes, position: int) -> None:
    """Writes every byte, however short the single writes are.

    Raises:
        OSError: as the system says, or ENOSPC when a write takes nothing.
    """
    rest = memoryview(data)
    while rest:
        written = files.pwrite(fd, rest, position)
        if written <= 0:
            raise OSError(errno.ENOSPC, "a write took no bytes")
        position += written
        rest = rest[written:]


def sync_directory(files: Files, path: Path) -> None:
    """Makes the entries of a directory durable."""
    fd = files.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files.fsync(fd)
    finally:
        files.close(fd)
