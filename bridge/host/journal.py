"""Where log lines go: standard error, in the form that its reader wants, and never at the loop's expense.

Under systemd each line carries its priority as ``<N>`` (sd-daemon(3)) and journald adds the time; elsewhere
lines have a time and a level. A thread of its own writes; when the reader stalls, the oldest waiting lines
are dropped and counted. Whatever a device sent, it cannot break or forge a line: control characters come out
as escapes, and the further lines of a traceback are indented.
"""

import contextlib
import logging
import os
import re
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TextIO

MAX_WAITING = 2000
"""Lines that may wait for a reader that stalls."""

MAX_LENGTH = 8192
"""Characters of one line; journald cuts at 48 KiB, and nobody reads that far."""

CLOSING_TIME = 2.0
"""Seconds that the last lines have to reach the reader at the end."""

NOISY = ("aio_pika", "aiormq", "aiomqtt", "mqtt", "paho", "pamqp", "aiohttp", "cloudevents")
"""Loggers of libraries that report each failure of a peer, which the supervisor reports once."""

PRIORITIES: Mapping[int, int] = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""Level → priority of syslog(3)."""

_COLOURS: Mapping[int, str] = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
# Controls, line and paragraph separators, and what turns the direction of text around.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""``text`` as one line: what is no printable character comes out as an escape: ``\n``, ``\x1b``."""
    if len(text) > MAX_LENGTH:
        text = f"{text[:MAX_LENGTH]}… ({len(text) - MAX_LENGTH} more characters)"
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def is_journal(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether ``stream`` is connected to journald: systemd.exec(5), ``$JOURNAL_STREAM``."""
    device, _, inode = (os.environ if environ is None else environ).get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


@contextlib.contextmanager
def configure(level: str, stream: TextIO | None = None) -> Iterator[None]:
    """Logging for as long as it is entered; nothing that logs ever waits for the reader.

    Args:
        level: the least severe level that is written, such as ``info``; with ``debug`` libraries speak, too.
        stream: where the lines go; standard error by default.
    """
    stream = stream or sys.stderr
    writer = _Writer(stream.fileno())
    handler = _Tap(writer)
    handler.setFormatter(JournalForm() if is_journal(stream) else PlainForm(colour=_wants_colour(stream)))
    if level != "debug":
        handler.addFilter(_worth_a_line)
    root = logging.getLogger()
    before = root.level
    root.setLevel(level.upper())
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    writer.start()
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
        writer.close(CLOSING_TIME)


def say(text: str, level: int = logging.ERROR, stream: TextIO | None = None) -> None:
    """Writes lines for people to standard error where no log is set up, with their priority under systemd."""
    stream = stream or sys.stderr
    start = f"<{priority(level)}>" if is_journal(stream) else ""
    with contextlib.suppress(OSError, ValueError):
        stream.write("".join(f"{start}{printable(line)}\n" for line in text.splitlines()))
        stream.flush()


def _wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a record is worth a line: libraries only where they know what nobody else says."""
    library = record.name.partition(".")[0]
    if library in NOISY:
        return record.levelno >= logging.CRITICAL
    return library != "asyncio" or record.levelno >= logging.ERROR


class _Form(logging.Formatter):
    """A record as printable lines, the traceback indented below the message."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if not record.name.startswith("bridge"):
            message = f"{record.name}: {message}"
        lines = [printable(message)]
        if record.exc_info:
            lines += ["  " + printable(line) for line in self.formatException(record.exc_info).splitlines()]
        if record.stack_info:
            lines += ["  " + printable(line) for line in record.stack_info.splitlines()]
        start = self.start(record)
        return "\n".join(start + line for line in lines)

    def start(self, record: logging.LogRecord) -> str:
        raise NotImplementedError


class JournalForm(_Form):
    """``<N>`` and the message, on every line."""

    def start(self, record: logging.LogRecord) -> str:
        """The priority."""
        return f"<{priority(record.levelno)}>"


class PlainForm(_Form):
    """Local time, level and message, for a terminal or a file."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def start(self, record: logging.LogRecord) -> str:
        """Time and level; the level in colour if that was asked for."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<8}"
        if self._colour and record.levelno in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelno]}m{level}\x1b[0m"
        return f"{when} {level} "


def priority(level: int) -> int:
    """The priority of syslog(3) for a level of logging."""
    return next((PRIORITIES[known] for known in sorted(PRIORITIES, reverse=True) if level >= known), 7)


class _Tap(logging.Handler):
    """Formats in the thread that logs, since arguments may change, and hands over without waiting."""

    def __init__(self, writer: "_Writer") -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (TypeError, ValueError, KeyError, AttributeError):
            self.handleError(record)
            return
        self._writer.put(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name in logging
        # A message that does not fit its arguments is a bug, but no reason to lose what it meant to say.
        self._writer.put(printable(f"{record.name}: {record.msg!r} with {record.args!r}"))


class _Writer:
    """A thread that writes lines to a descriptor; what it cannot write soon enough is dropped, oldest first.

    It writes to the descriptor itself: a lock of a stream or handler, held by a thread that waits for the
    reader, would keep the process from ending.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, line: str) -> None:
        with self._changed:
            if len(self._lines) >= MAX_WAITING:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(line)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Writes what waits, for at most ``seconds``."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closing)
                lines, dropped = list(self._lines), self._dropped
                self._lines.clear()
                self._dropped = 0
                if not lines:
                    return
            if dropped:
                lines.insert(0, self._confession(dropped, lines[0]))
            self._write("\n".join([*lines, ""]).encode("utf-8", "backslashreplace"))

    def _confession(self, dropped: int, next_line: str) -> str:
        start = f"<{PRIORITIES[logging.WARNING]}>" if re.match(r"<\d>", next_line) else ""
        return f"{start}{dropped} log lines were dropped: their reader was too slow"

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError:
                # Nobody reads any more; there is nobody to tell.
                return
