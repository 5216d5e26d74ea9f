"""The files of a crash state in memory, behind the spool's own door to the disk; what is done to them is noted."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from bridge.spool.files import Entry, Space
from tests.crash.states import State
from tests.crash.trace import ROOT, Kind, Operation, Trace

TOP = Path("/crash")
"""Where the recorded directory lies."""
_DEPTH = len(TOP.parts)


class MemoryFiles:
    """Implements :class:`bridge.spool.files.Files` over the tree of a state.

    Args:
        noted: whether :attr:`trace` is to be filled with what is done from here on.
    """

    def __init__(self, state: State, *, noted: bool = False) -> None:
        self._folders = set(state.folders)
        self._names = {folder: dict(state.names.get(folder, {})) for folder in state.folders}
        self._files: dict[int, bytes | bytearray] = dict(state.contents)
        self._descriptors: dict[int, int] = {}
        self._locks: dict[int, int] = {}
        self._next = 3
        self._clock = 0
        self.trace: Trace | None = None
        if noted:
            self.trace = Trace(
                set(state.folders), dict(state.contents), {k: dict(v) for k, v in self._names.items()}
            )
        self._new = max([ROOT, *self._folders, *self._files]) + 1

    # --- the port -------------------------------------------------------------------------------------

    def open(self, path: Path, flags: int) -> int:
        node = self._look_up(path)
        if node is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT)
            node = self._make(path)
            self._files[node] = b""
            if self.trace is not None:
                self.trace.contents[node] = b""
        self._next += 1
        self._descriptors[self._next] = node
        return self._next

    def close(self, fd: int) -> None:
        self._descriptors.pop(fd, None)
        self._locks = {node: holder for node, holder in self._locks.items() if holder != fd}

    def pread(self, fd: int, size: int, position: int) -> bytes:
        return bytes(self._files[self._descriptors[fd]][position : position + size])

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:
        node = self._descriptors[fd]
        content = self._writable(node)
        content.extend(bytes(max(0, position - len(content))))
        content[position : position + len(data)] = data
        if self.trace is not None:
            taken = bytes(data)
            self._note(
                "write", f"write [{position}..{position + len(taken)})", node=node, position=position, data=taken
            )
        return len(data)

    def fdatasync(self, fd: int) -> None:
        self._note("sync", "sync", node=self._descriptors[fd])

    def fsync(self, fd: int) -> None:
        self.fdatasync(fd)

    def fallocate(self, fd: int, size: int) -> None:
        if size > len(self._files[self._descriptors[fd]]):
            self.ftruncate(fd, size)

    def ftruncate(self, fd: int, size: int) -> None:
        node = self._descriptors[fd]
        content = self._writable(node)
        if size != len(content):
            del content[size:]
            content.extend(bytes(max(0, size - len(content))))
            self._note("resize", f"resize to {size}", node=node, size=size)

    def flock(self, fd: int) -> bool:
        return self._locks.setdefault(self._descriptors[fd], fd) == fd

    def rename(self, old: Path, new: Path) -> None:
        folder, node = self._parent(old), self._look_up(old)
        if node is None:
            raise _error(errno.ENOENT)
        replaced = new.name in self._names[folder]
        del self._names[folder][old.name]
        self._names[folder][new.name] = node
        text = f"rename {old.name} to {new.name}"
        facts = {"folder": folder, "name": old.name, "target": new.name, "node": node, "replaced": replaced}
        self._note("rename", text, **facts)

    def unlink(self, path: Path) -> None:
        folder = self._parent(path)
        if self._names[folder].pop(path.name, None) is None:
            raise _error(errno.ENOENT)
        self._note("unlink", f"unlink {path.name}", folder=folder, name=path.name)

    def mkdir(self, path: Path) -> None:
        if self._look_up(path) is not None:
            raise _error(errno.EEXIST)
        node = self._make(path)
        self._folders.add(node)
        self._names[node] = {}
        if self.trace is not None:
            self.trace.folders.add(node)

    def listdir(self, path: Path) -> Sequence[Entry]:
        folder = self._look_up(path)
        if folder not in self._folders:
            raise _error(errno.ENOENT)
        assert folder is not None
        return [
            Entry(name, len(self._files[node]))
            for name, node in self._names[folder].items()
            if node not in self._folders
        ]

    def folders(self, path: Path) -> Sequence[str]:
        folder = self._look_up(path)
        if folder not in self._folders:
            raise _error(errno.ENOENT)
        assert folder is not None
        return [name for name, node in self._names[folder].items() if node in self._folders]

    def rmdir(self, path: Path) -> None:
        raise NotImplementedError("nothing here removes a directory")

    def space(self, path: Path) -> Space:
        return Space(1 << 40, 1 << 41)

    # --- inside ---------------------------------------------------------------------------------------

    def _look_up(self, path: Path) -> int | None:
        node: int | None = ROOT
        for part in path.parts[_DEPTH:]:
            node = self._names.get(node, {}).get(part) if node is not None else None
        return node

    def _parent(self, path: Path) -> int:
        folder = self._look_up(path.parent)
        if folder is None:
            raise _error(errno.ENOENT)
        return folder

    def _make(self, path: Path) -> int:
        folder = self._parent(path)
        node, self._new = self._new, self._new + 1
        self._names[folder][path.name] = node
        self._note("link", f"create {path.name}", folder=folder, name=path.name, node=node)
        return node

    def _writable(self, node: int) -> bytearray:
        content = self._files[node]
        if not isinstance(content, bytearray):
            content = self._files[node] = bytearray(content)
        return content

    def _note(self, kind: Kind, text: str, **facts: object) -> None:
        if self.trace is not None:
            self._clock += 2
            operation = Operation(kind, self._clock, self._clock + 1, text, **facts)  # type: ignore[arg-type]
            self.trace.operations.append(operation)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
