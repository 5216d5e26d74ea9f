"""Runs a program under strace and makes a trace of what it does to one directory.

The program may have threads but no children of its own that touch the directory. What it prints are its
promises. Writes through shared mappings, io_uring and kernel AIO cannot be seen; replaying the whole trace
is compared with the directory, so that they cannot go unnoticed.
"""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.crash.trace import ROOT, Operation, Trace

_CALLS = (
    "open,openat,close,dup,dup2,dup3,fcntl,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,"
    "renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,writev,pwritev,pwritev2,sync_file_range,io_uring_setup,"
    "io_submit,copy_file_range,sendfile,lseek"
)
_LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*)\Z", re.DOTALL)
_RESUMED = re.compile(r"(?:(\d+) +)?<\.\.\. (\w+) resumed>(.*)\Z", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: ([A-Z][A-Z0-9]+))?[^)\"]*(?:\([^)]*\))?[^\"]*\Z")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_INVISIBLE = {"io_uring_setup", "io_submit", "copy_file_range", "sendfile", "writev", "pwritev", "pwritev2"}


def record(command: Sequence[str], top: Path, scratch: Path, inject: Sequence[str] = ()) -> Trace:
    """Runs ``command``, which works in ``top``, and returns what it did there.

    Args:
        scratch: an empty directory for the log.
        inject: faults in the words of ``strace --inject``.
    """
    trace = Trace()
    trace.load(top)
    log, output = scratch / "strace.log", scratch / "output"
    options = [
        "-f",
        "-xx",
        "-s",
        str(1 << 24),
        "-e",
        "trace=" + _CALLS,
        "-e",
        "signal=none",
        "-qq",
        "-o",
        str(log),
    ]
    options += [word for fault in inject for word in ("-e", f"inject={fault}")]
    with output.open("wb") as stream:
        subprocess.run(["strace", *options, "--", *command], stdout=stream, check=True, timeout=120)
    _Follower(trace, top).follow(log)
    trace.operations.sort(key=lambda operation: operation.done)
    return trace


class _Follower:
    """Follows descriptors and names by itself; the process is long gone."""

    def __init__(self, trace: Trace, top: Path) -> None:
        self._trace = trace
        self._top = str(top)
        self._names = {folder: dict(entries) for folder, entries in trace.names.items()}
        self._sizes = {node: len(content) for node, content in trace.contents.items()}
        self._descriptors: dict[int, int] = {}
        self._unfinished: dict[str, tuple[str, str, int]] = {}
        self._begun = self._done = 0

    def follow(self, log: Path) -> None:
        with log.open(encoding="ascii") as lines:
            for number, line in enumerate(lines, 1):
                self._line(line.rstrip("\n"), number)

    def _line(self, line: str, number: int) -> None:
        resumed = _RESUMED.match(line)
        if resumed:
            call, arguments, begun = self._unfinished.pop(resumed[1] or "")
            self._call(call, arguments + resumed[3], begun, 2 * number + 1)
            return
        match = _LINE.match(line)
        if not match:
            return
        if match[3].endswith("<unfinished ...>"):
            self._unfinished[match[1] or ""] = (match[2], match[3].removesuffix("<unfinished ...>"), 2 * number)
        else:
            self._call(match[2], match[3], 2 * number, 2 * number + 1)

    def _call(self, call: str, text: str, begun: int, done: int) -> None:
        ending = _RESULT.search(text)
        if not ending:
            self._trace.not_understood.append(f"{call}({text[:80]}")
            return
        self._begun, self._done = begun, done
        result = -1 if ending[1] == "?" else int(ending[1])
        arguments = [part.strip() for part in text[: ending.start()].split(",")]
        if call in _INVISIBLE and result >= 0 and self._node(arguments[0]) is not None:
            self._trace.not_understood.append(f"{call}({text[:80]}")
        handler = getattr(self, f"_do_{call}", None)
        if handler is not None and (result >= 0 or call in ("fsync", "fdatasync")):
            handler(arguments, result)

    # --- names ----------------------------------------------------------------------------------------

    def _inside(self, argument: str) -> str | None:
        match = _STRING.fullmatch(argument)
        path = bytes.fromhex(match[1].replace("\\x", "")).decode() if match else ""
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

    def _emit(self, operation: Operation) -> None:
        self._trace.operations.append(operation)

    def _operation(self, kind: "str", text: str, **facts: object) -> None:
        self._emit(Operation(kind, self._begun, self._done, text, **facts))  # type: ignore[arg-type]

    # --- calls ----------------------------------------------------------------------------------------

    def _do_open(self, arguments: list[str], result: int) -> None:
        self._opened(arguments[0], arguments[1], result)

    def _do_openat(self, arguments: list[str], result: int) -> None:
        self._opened(arguments[1], arguments[2], result)

    def _opened(self, path: str, flags: str, descriptor: int) -> None:
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
            self._operation("link", f"create {inside}", folder=folder, name=name, node=node)
        elif "O_TRUNC" in flags:
            self._resize(node, 0)
        self._descriptors[descriptor] = node

    def _do_close(self, arguments: list[str], result: int) -> None:
        self._descriptors.pop(int(arguments[0]), None)

    def _do_dup(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if node is not None:
            self._descriptors[result] = node

    _do_dup2 = _do_dup3 = _do_dup

    def _do_fcntl(self, arguments: list[str], result: int) -> None:
        if arguments[1].startswith("F_DUPFD"):
            self._do_dup(arguments, result)

    def _do_write(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if arguments[0] == "1":
            self._operation("promise", "promise", data=_bytes(arguments[1])[:result])
        elif node is not None:
            self._trace.not_understood.append("write() without a position")

    def _do_pwrite64(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if node is None or not result:
            return
        data, position = _bytes(arguments[1])[:result], int(arguments[3])
        text = f"write #{node} [{position}..{position + len(data)})"
        self._operation("write", text, node=node, position=position, data=data)
        self._sizes[node] = max(self._sizes[node], position + len(data))

    def _do_ftruncate(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if node is not None:
            self._resize(node, int(arguments[1]))

    def _do_fallocate(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if node is not None:
            self._resize(node, max(self._sizes[node], int(arguments[2]) + int(arguments[3])))

    def _resize(self, node: int, size: int) -> None:
        if size != self._sizes[node]:
            self._operation("resize", f"resize #{node} to {size}", node=node, size=size)
            self._sizes[node] = size

    def _do_fsync(self, arguments: list[str], result: int) -> None:
        node = self._node(arguments[0])
        if node is not None:
            text = f"sync #{node}" + (" failed" if result < 0 else "")
            self._operation("sync", text, node=node, failed=result < 0)

    _do_fdatasync = _do_fsync

    def _do_rename(self, arguments: list[str], result: int) -> None:
        old, new = self._inside(arguments[0]), self._inside(arguments[1])
        if old is None or new is None:
            return
        (folder, name), (target_folder, target) = self._parent(old), self._parent(new)
        assert folder == target_folder, "renames between directories are not followed"
        node = self._names[folder].pop(name)
        self._names[folder][target] = node
        text = f"rename {old} to {new}"
        self._operation("rename", text, folder=folder, name=name, target=target, node=node)

    def _do_unlink(self, arguments: list[str], result: int) -> None:
        inside = self._inside(arguments[0])
        if inside is not None:
            folder, name = self._parent(inside)
            del self._names[folder][name]
            self._operation("unlink", f"unlink {inside}", folder=folder, name=name)

    def _do_mkdir(self, arguments: list[str], result: int) -> None:
        inside = self._inside(arguments[0])
        if inside is not None:
            folder, name = self._parent(inside)
            node = self._trace.new_node(folder=True)
            self._names[node] = {}
            self._names[folder][name] = node
            self._operation("link", f"mkdir {inside}", folder=folder, name=name, node=node)


def _bytes(argument: str) -> bytes:
    match = _STRING.fullmatch(argument)
    assert match, "a string was cut by strace"
    return bytes.fromhex(match[1].replace("\\x", ""))
