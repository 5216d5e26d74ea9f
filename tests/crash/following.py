"""From system calls to operations on the files of one directory."""

import os
from pathlib import Path

from tests.crash.strace import Call, path_of
from tests.crash.trace import ROOT, Kind, Operation, Promise, Trace

_INVISIBLE = {"io_uring_setup", "io_submit", "copy_file_range", "sendfile", "writev", "pwritev", "pwritev2"}
_NEEDS_NO_SUCCESS = {"fsync", "fdatasync"}


class Follower:
    """Follows descriptors and names by itself; the processes are long gone.

    The program may have threads but no children of its own that touch the directory. Writes through shared
    mappings, io_uring and kernel AIO cannot be seen; replaying the whole trace is compared with the
    directory, so that they cannot go unnoticed.
    """

    def __init__(self, trace: Trace, top: Path) -> None:
        self._trace = trace
        self._top = str(top)
        self._names = {folder: dict(entries) for folder, entries in trace.names.items()}
        self._labels = {ROOT: ""}
        self._sizes = {node: len(content) for node, content in trace.contents.items()}
        self._descriptors: dict[int, int] = {}
        self._begun = self._done = 0

    def new_process(self) -> None:
        """What follows are the calls of another process."""
        self._descriptors = {}

    def take(self, call: Call) -> None:
        """One call, in the order of completion."""
        if call.result is None:
            if not self._happened(call):
                return
        elif call.result < 0 and call.name not in _NEEDS_NO_SUCCESS:
            return
        self._begun, self._done = call.begun, call.done
        if call.name in _INVISIBLE and self._node(call.arguments[0]) is not None:
            self._trace.not_understood.append(f"{call.name}({call.text[:80]}")
        handler = getattr(self, f"_do_{call.name}", None)
        if handler is not None:
            handler(call)

    def _happened(self, call: Call) -> bool:
        """Whether a call that a kill cut short had its effect; the directory is as the kill left it."""
        arguments = call.arguments
        match call.name:
            case "rename":
                return not Path(path_of(arguments[0])).exists() and Path(path_of(arguments[1])).exists()
            case "unlink":
                return not Path(path_of(arguments[0])).exists()
            case "mkdir":
                return Path(path_of(arguments[0])).is_dir()
            case "pwrite64":
                path = self._path(arguments[0])
                if path is None or len(arguments) < 4:
                    return False
                data, position = call.data, int(arguments[3].rstrip(")"))
                with path.open("rb") as file:
                    return os.pread(file.fileno(), len(data), position) == data
            case "ftruncate":
                path = self._path(arguments[0])
                return path is not None and path.stat().st_size == int(arguments[1].rstrip(")"))
            case "openat":
                inside = self._inside(path_of(arguments[1]))
                return (
                    bool(inside) and self._look_up(inside or "") is None and Path(self._top, inside or "").exists()
                )
        return False

    # --- names ----------------------------------------------------------------------------------------

    def _inside(self, path: str) -> str | None:
        if path == self._top:
            return ""
        return path.removeprefix(self._top + "/") if path.startswith(self._top + "/") else None

    def _look_up(self, path: str) -> int | None:
        node: int | None = ROOT
        for part in filter(None, path.split("/")):
            node = self._names.get(node, {}).get(part) if node is not None else None
        return node

    def _parent(self, path: str) -> tuple[int, str]:
        head, _, name = path.rpartition("/")
        folder = self._look_up(head)
        assert folder is not None, path
        return folder, name

    def _node(self, argument: str) -> int | None:
        return self._descriptors.get(int(argument)) if argument.isdigit() else None

    def _label(self, node: int) -> str:
        return self._labels.get(node) or f"#{node}"

    def _path(self, argument: str) -> Path | None:
        """Where the file of a descriptor lies now."""
        node = self._node(argument)
        paths = (Path(self._top, self._label(child)) for child in self._labels if child == node)
        return next((path for path in paths if path.is_file()), None)

    def _operation(self, kind: Kind, text: str, **facts: object) -> None:
        self._trace.operations.append(Operation(kind, self._begun, self._done, text, **facts))  # type: ignore[arg-type]

    # --- calls ----------------------------------------------------------------------------------------

    def _do_open(self, call: Call) -> None:
        arguments = call.arguments
        self._opened(path_of(arguments[0]), arguments[1], call.result)

    def _do_openat(self, call: Call) -> None:
        arguments = call.arguments
        self._opened(path_of(arguments[1]), arguments[2], call.result)

    def _opened(self, path: str, flags: str, descriptor: int | None) -> None:
        if descriptor is not None:
            self._descriptors.pop(descriptor, None)
        inside = self._inside(path)
        if inside is None:
            return
        node = self._look_up(inside)
        if node is None:
            folder, name = self._parent(inside)
            node = self._trace.new_node()
            self._sizes[node] = 0
            self._names[folder][name] = node
            self._labels[node] = inside
            self._operation("link", f"create {inside}", folder=folder, name=name, node=node)
        elif "O_TRUNC" in flags:
            self._resize(node, 0)
        self._labels.setdefault(node, inside)
        if descriptor is not None:
            self._descriptors[descriptor] = node

    def _do_close(self, call: Call) -> None:
        self._descriptors.pop(int(call.arguments[0]), None)

    def _do_dup(self, call: Call) -> None:
        node = self._node(call.arguments[0])
        if node is not None and call.result is not None:
            self._descriptors[call.result] = node

    _do_dup2 = _do_dup3 = _do_dup

    def _do_fcntl(self, call: Call) -> None:
        if call.arguments[1].startswith("F_DUPFD"):
            self._do_dup(call)

    def _do_write(self, call: Call) -> None:
        if call.arguments[0] == "1":
            self._trace.promises += [Promise(call.begun, line) for line in call.data.decode().splitlines()]
        elif self._node(call.arguments[0]) is not None:
            self._trace.not_understood.append("write() without a position")

    def _do_pwrite64(self, call: Call) -> None:
        arguments = call.arguments
        node = self._node(arguments[0])
        data = call.data
        if node is None or not data:
            return
        position = int(arguments[3].rstrip(")"))
        text = f"write {self._label(node)} [{position}..{position + len(data)})"
        self._operation("write", text, node=node, position=position, data=data)
        self._sizes[node] = max(self._sizes[node], position + len(data))

    def _do_ftruncate(self, call: Call) -> None:
        node = self._node(call.arguments[0])
        if node is not None:
            self._resize(node, int(call.arguments[1].rstrip(")")))

    def _do_fallocate(self, call: Call) -> None:
        arguments = call.arguments
        node = self._node(arguments[0])
        if node is not None:
            self._resize(node, max(self._sizes[node], int(arguments[2]) + int(arguments[3])))

    def _resize(self, node: int, size: int) -> None:
        if size != self._sizes[node]:
            self._operation("resize", f"resize {self._label(node)} to {size}", node=node, size=size)
            self._sizes[node] = size

    def _do_fsync(self, call: Call) -> None:
        node = self._node(call.arguments[0])
        if node is not None:
            failed = call.result != 0
            text = f"sync {self._label(node) or 'the directory'}" + (" failed" if failed else "")
            self._operation("sync", text, node=node, failed=failed)

    _do_fdatasync = _do_fsync

    def _do_rename(self, call: Call) -> None:
        old, new = (self._inside(path_of(argument.rstrip(")"))) for argument in call.arguments[:2])
        if old is None or new is None:
            return
        (folder, name), (target_folder, target) = self._parent(old), self._parent(new)
        assert folder == target_folder, "renames between directories are not followed"
        replaced = target in self._names[folder]
        node = self._names[folder].pop(name)
        self._names[folder][target] = node
        self._labels[node] = new
        facts = {"folder": folder, "name": name, "target": target, "node": node, "replaced": replaced}
        self._operation("rename", f"rename {old} to {new}", **facts)

    def _do_unlink(self, call: Call) -> None:
        inside = self._inside(path_of(call.arguments[0].rstrip(")")))
        if inside is not None:
            folder, name = self._parent(inside)
            del self._names[folder][name]
            self._operation("unlink", f"unlink {inside}", folder=folder, name=name)

    def _do_mkdir(self, call: Call) -> None:
        inside = self._inside(path_of(call.arguments[0].rstrip(")")))
        if inside is not None:
            folder, name = self._parent(inside)
            node = self._trace.new_node(folder=True)
            self._names[node] = {}
            self._names[folder][name] = node
            self._labels[node] = inside
            self._operation("link", f"mkdir {inside}", folder=folder, name=name, node=node)
