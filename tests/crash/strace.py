"""A program under strace, and its log as calls."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE_CALLS = (
    "open,openat,close,dup,dup2,dup3,fcntl,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,"
    "renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,writev,pwritev,pwritev2,sync_file_range,io_uring_setup,"
    "io_submit,copy_file_range,sendfile,lseek"
)
SOCKET_CALLS = "connect,sendto,sendmsg,recvfrom,recvmsg"

_LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*)\Z", re.DOTALL)
_RESUMED = re.compile(r"(?:(\d+) +)?<\.\.\. (\w+) resumed>(.*)\Z", re.DOTALL)
_CUT = re.compile(r"\)?\s*(?:<[^<>]*>)?\s*\Z")
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: ([A-Z][A-Z0-9]+))?[^)\"]*(?:\([^)]*\))?[^\"]*\Z")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PIECE = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call.

    Attributes:
        text: of its arguments, as strace writes them.
        result: None when the process was killed inside.
        begun: where in the log it begins, ``done`` where it ends.
    """

    name: str
    text: str
    result: int | None
    begun: int
    done: int

    @property
    def arguments(self) -> list[str]:
        """The arguments of a call without structures."""
        return [part.strip() for part in self.text.split(",")]

    @property
    def data(self) -> bytes:
        """The bytes that went through it: of a call with a buffer, or with a list of buffers."""
        pieces = _PIECE.findall(self.text) or _STRING.findall(self.text)[:1]
        return b"".join(map(unescaped, pieces))[: self.result]


def command(log: Path, calls: str, program: Sequence[str], inject: Sequence[str] = ()) -> list[str]:
    """The command that runs ``program`` with its ``calls`` written to ``log``.

    Args:
        inject: faults in the words of ``strace --inject``.
    """
    # Without faults only the calls of interest stop the program.
    options = ["-f", *(() if inject else ("--seccomp-bpf",)), "-xx", "-s", str(1 << 24), "-e", "trace=" + calls]
    options += ["-e", "signal=none", "-qq", "-o", str(log)]
    options += [word for fault in inject for word in ("-e", f"inject={fault}")]
    return ["strace", *options, "--", *program]


def calls_of(log: Path, base: int, not_understood: list[str]) -> Iterator[Call]:
    """The calls of a log in the order of their completion; positions count from ``base`` on.

    Calls that a kill cut short come last, with no result.
    """
    unfinished: dict[str, tuple[str, str, int]] = {}
    number = base
    with log.open(encoding="ascii") as lines:
        for line in lines:
            number += 1
            resumed = _RESUMED.match(line)
            match = None if resumed else _LINE.match(line)
            if resumed:
                name, text, begun = unfinished.pop(resumed[1] or "")
                text += resumed[3]
            elif match and line.endswith("<unfinished ...>\n"):
                text = match[3].removesuffix("<unfinished ...>\n")
                unfinished[match[1] or ""] = (match[2], text, 2 * number)
                if match[2] == "close":
                    # Its number may be given again before it returns.
                    yield Call("close", text.rstrip(), 0, 2 * number, 2 * number + 1)
                continue
            elif match:
                name, text, begun = match[2], match[3], 2 * number
                if (match[1] or "") in unfinished:
                    not_understood.append("{}({:.80}".format(*unfinished.pop(match[1] or "")))
            else:
                continue
            if resumed and name == "close":
                continue
            ending = _RESULT.search(text.rstrip("\n"))
            if ending is None:
                # The last word of a thread that was killed; if it says more, this was something else.
                source = resumed or match
                assert source is not None
                unfinished[source[1] or ""] = (name, _CUT.sub("", text), begun)
                continue
            result = None if ending[1] == "?" else int(ending[1])
            yield Call(name, text[: ending.start()], result, begun, 2 * number + 1)
    for name, text, begun in unfinished.values():
        if name == "close":
            continue
        yield Call(name, text.rstrip(), None, begun, 2 * number + 3)


def length_of(log: Path) -> int:
    """How many positions a log needs."""
    with log.open("rb") as lines:
        return sum(1 for _ in lines) + 2


def unescaped(text: str) -> bytes:
    """The bytes of a string in hexadecimal escapes."""
    return bytes.fromhex(text.replace("\\x", ""))


def string(argument: str) -> bytes:
    """The bytes of an argument that is a string."""
    match = _STRING.fullmatch(argument)
    assert match, f"a string was cut by strace: {argument[:80]}"
    return unescaped(match[1])


def path_of(argument: str) -> str:
    """An argument that is a path; empty when it is something else."""
    match = _STRING.fullmatch(argument)
    return unescaped(match[1]).decode() if match else ""
