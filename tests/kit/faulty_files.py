"""Files in memory that can fail, write short, and lose power: what was not synced may stay, vanish or tear."""

import errno
import os
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.spool.files import Entry, Space

SECTOR = 512


@dataclass
class File:
    """A file: what programs see, what is on the medium, and what is still on its way there."""

    seen: bytearray = field(default_factory=bytearray)
    medium: bytearray = field(default_factory=bytearray)
    on_the_way: list[tuple[int, bytes] | int] = field(default_factory=list)

    def write(self, position: int, data: bytes) -> None:
        _put(self.seen, position, data)
        self.on_the_way.append((position, data))

    def resize(self, size: int) -> None:
        if size != len(self.seen):
            _resize(self.seen, size)
            self.on_the_way.append(size)

    def sync(self) -> None:
        for change in self.on_the_way:
            _apply(self.medium, change)
        self.on_the_way = []

    def lose(self) -> None:
        """A failed sync: the bytes can still be seen, and no later sync writes them."""
        self.on_the_way = []


@dataclass
class Folder:
    """A directory: names as they are seen, on the medium, and their changes on the way."""

    seen: dict[str, "File | Folder"] = field(default_factory=dict)
    medium: dict[str, "File | Folder"] = field(default_factory=dict)
    on_the_way: list[tuple[str, str | None, "File | Folder | None"]] = field(default_factory=list)

    def change(self, gone: str, new: str | None, node: "File | Folder | None") -> None:
        """``gone`` disappears, ``new`` appears for ``node``, in one step."""
        change = (gone, new, node)
        _rename(self.seen, change)
        self.on_the_way.append(change)

    def sync(self) -> None:
        for change in self.on_the_way:
            _rename(self.medium, change)
        self.on_the_way = []


class FaultyFiles:
    """Implements :class:`bridge.spool.files.Files`.

    Attributes:
        faults: for each call the errors of its next uses; 0 means that this use works.
        broken: for each call the error of all its uses.
        short_writes: whether writes take only a part of what they are given.
        size: bytes of the whole medium; what files have is taken from it, and nothing enforces it.
        calls: how often each call was used.
    """

    def __init__(self) -> None:
        self.faults: dict[str, list[int]] = defaultdict(list)
        self.broken: dict[str, int] = {}
        self.short_writes = False
        self.size = 1 << 40
        self.calls: dict[str, int] = defaultdict(int)
        self._root = Folder()
        self._open: dict[int, File | Folder] = {}
        self._owner: dict[int, int] = {}
        self._next = 3
        self._guard = threading.RLock()

    # --- what may happen to a machine -----------------------------------------------------------------

    def kill(self) -> None:
        """The process dies: descriptors and locks go, what was written can still be seen."""
        with self._guard:
            self._open.clear()
            self._owner.clear()

    def cut_power(self, rng: random.Random, *, tear: bool = True) -> None:
        """The machine dies: only the medium stays, and any part of what was on the way."""
        with self._guard:
            self.kill()
            self._cut(self._root, rng, tear=tear, keep=rng.choice((0.0, 0.3, 0.7, 1.0)))

    def corrupt(self, path: Path, position: int, data: bytes) -> None:
        """Damages a file on the medium."""
        node = self._file(path)
        for content in (node.seen, node.medium):
            content[position : position + len(data)] = data

    def content(self, path: Path) -> bytes:
        """What can be seen of a file."""
        return bytes(self._file(path).seen)

    def put(self, path: Path, content: bytes) -> None:
        """Places a file, durably."""
        folder = self._folder(path.parent)
        node = File(bytearray(content), bytearray(content))
        folder.seen[path.name] = folder.medium[path.name] = node

    def make(self, path: Path) -> None:
        """Makes a directory and its parents, durably."""
        folder = self._root
        for part in path.parts[1:]:
            child = folder.seen.get(part)
            if child is None:
                child = folder.seen[part] = folder.medium[part] = Folder()
            assert isinstance(child, Folder)
            folder = child

    def names(self, path: Path) -> list[str]:
        """The names in a directory."""
        return sorted(self._folder(path).seen)

    @property
    def open_descriptors(self) -> int:
        """How many descriptors are open."""
        return len(self._open)

    # --- the port -------------------------------------------------------------------------------------

    def open(self, path: Path, flags: int) -> int:
        with self._guard:
            self._fault("open")
            if path == path.parent:
                node: File | Folder | None = self._root
            else:
                folder = self._folder(path.parent)
                node = folder.seen.get(path.name)
                if node is None and flags & os.O_CREAT:
                    self._fault("create")
                    node = File()
                    folder.change(path.name, path.name, node)
                elif node is not None and flags & os.O_EXCL:
                    raise _error(errno.EEXIST)
            if node is None:
                raise _error(errno.ENOENT)
            if isinstance(node, Folder) and flags & (os.O_RDWR | os.O_WRONLY):
                raise _error(errno.EISDIR)
            if isinstance(node, File) and flags & os.O_DIRECTORY:
                raise _error(errno.ENOTDIR)
            self._next += 1
            self._open[self._next] = node
            return self._next

    def close(self, fd: int) -> None:
        with self._guard:
            self._open.pop(fd, None)
            self._owner = {node: holder for node, holder in self._owner.items() if holder != fd}

    def pread(self, fd: int, size: int, position: int) -> bytes:
        with self._guard:
            self._fault("pread")
            return bytes(self._opened(fd).seen[position : position + size])

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:
        with self._guard:
            self._fault("pwrite")
            taken = bytes(data)
            if self.short_writes and len(taken) > 1:
                taken = taken[: max(1, len(taken) // 3)]
            self._opened(fd).write(position, taken)
            return len(taken)

    def fdatasync(self, fd: int) -> None:
        self._sync("fdatasync", fd)

    def fsync(self, fd: int) -> None:
        self._sync("fsync", fd)

    def fallocate(self, fd: int, size: int) -> None:
        with self._guard:
            self._fault("fallocate")
            file = self._opened(fd)
            file.resize(max(size, len(file.seen)))

    def ftruncate(self, fd: int, size: int) -> None:
        with self._guard:
            self._fault("ftruncate")
            self._opened(fd).resize(size)

    def flock(self, fd: int) -> bool:
        with self._guard:
            return self._owner.setdefault(id(self._opened(fd)), fd) == fd

    def rename(self, old: Path, new: Path) -> None:
        with self._guard:
            self._fault("rename")
            folder = self._folder(old.parent)
            assert old.parent == new.parent
            node = folder.seen.get(old.name)
            if node is None:
                raise _error(errno.ENOENT)
            folder.change(old.name, new.name, node)

    def unlink(self, path: Path) -> None:
        with self._guard:
            self._fault("unlink")
            folder = self._folder(path.parent)
            if path.name not in folder.seen:
                raise _error(errno.ENOENT)
            folder.change(path.name, None, None)

    def mkdir(self, path: Path) -> None:
        with self._guard:
            self._fault("mkdir")
            folder = self._folder(path.parent)
            if path.name in folder.seen:
                raise _error(errno.EEXIST)
            folder.change(path.name, path.name, Folder())

    def listdir(self, path: Path) -> Sequence[Entry]:
        with self._guard:
            self._fault("listdir")
            seen = self._folder(path).seen.items()
            return [Entry(name, len(node.seen)) for name, node in seen if isinstance(node, File)]

    def folders(self, path: Path) -> Sequence[str]:
        with self._guard:
            self._fault("listdir")
            return [name for name, node in self._folder(path).seen.items() if isinstance(node, Folder)]

    def rmdir(self, path: Path) -> None:
        with self._guard:
            self._fault("rmdir")
            if self._folder(path).seen:
                raise _error(errno.ENOTEMPTY)
            self._folder(path.parent).change(path.name, None, None)

    def space(self, path: Path) -> Space:
        with self._guard:
            self._fault("space")
            return Space(self.size - sum(len(file.seen) for file in _files_below(self._root)), self.size)

    # --- inside ---------------------------------------------------------------------------------------

    def _sync(self, call: str, fd: int) -> None:
        with self._guard:
            node = self._open.get(fd)
            if node is None:
                raise _error(errno.EBADF)
            try:
                self._fault(call)
            except OSError:
                if isinstance(node, File):
                    node.lose()
                raise
            node.sync()

    def _fault(self, call: str) -> None:
        self.calls[call] += 1
        planned = self.faults.get(call)
        code = planned.pop(0) if planned else 0
        code = code or self.broken.get(call, 0)
        if code:
            raise _error(code)

    def _opened(self, fd: int) -> File:
        node = self._open.get(fd)
        if not isinstance(node, File):
            raise _error(errno.EBADF)
        return node

    def _folder(self, path: Path) -> Folder:
        node: File | Folder = self._root
        for part in path.parts[1:]:
            if not isinstance(node, Folder):
                raise _error(errno.ENOTDIR)
            if part not in node.seen:
                raise _error(errno.ENOENT)
            node = node.seen[part]
        if not isinstance(node, Folder):
            raise _error(errno.ENOTDIR)
        return node

    def _file(self, path: Path) -> File:
        node = self._folder(path.parent).seen[path.name]
        assert isinstance(node, File)
        return node

    def _cut(self, folder: Folder, rng: random.Random, *, tear: bool, keep: float) -> None:
        for entry in folder.on_the_way:
            if rng.random() < keep:
                _rename(folder.medium, entry)
        folder.on_the_way = []
        folder.seen = dict(folder.medium)
        for node in folder.seen.values():
            if isinstance(node, Folder):
                self._cut(node, rng, tear=tear, keep=keep)
                continue
            for change in node.on_the_way:
                if rng.random() < keep:
                    _apply(node.medium, change)
                elif tear and not isinstance(change, int):
                    _tear(node.medium, change, rng)
            node.on_the_way = []
            node.seen = bytearray(node.medium)


def _files_below(folder: Folder) -> Iterator[File]:
    for node in folder.seen.values():
        if isinstance(node, File):
            yield node
        else:
            yield from _files_below(node)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, position: int, data: bytes) -> None:
    if len(content) < position:
        _resize(content, position)
    content[position : position + len(data)] = data


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        _resize(content, change)
    else:
        _put(content, *change)


def _tear(content: bytearray, change: tuple[int, bytes], rng: random.Random) -> None:
    """Some sectors of a write arrive, some do not, some are garbage."""
    position, data = change
    at = 0
    while at < len(data):
        stop = min(len(data), (position + at) // SECTOR * SECTOR + SECTOR - position)
        chance = rng.random()
        if chance < 0.5:
            _put(content, position + at, data[at:stop])
        elif chance < 0.6:
            _put(content, position + at, rng.randbytes(stop - at))
        at = stop


def _rename(names: dict[str, "File | Folder"], change: tuple[str, str | None, "File | Folder | None"]) -> None:
    gone, new, node = change
    if new is None or names.get(gone) is node:
        names.pop(gone, None)
    if new is not None and node is not None:
        names[new] = node
