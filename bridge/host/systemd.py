"""What systemd wants to hear: sd_notify(3), through the sdnotify library.

Outside systemd (no ``$NOTIFY_SOCKET``) every call does nothing, so that the same program runs in a shell.
No call waits or raises: a message that systemd does not take at once is given up, except READY, which goes
out with the next call.
"""

import os
import socket
import time
import unicodedata
from collections.abc import Mapping

import sdnotify

MAX_STATUS = 500
"""Characters of a status line."""

_PLAIN = str.maketrans(
    {"\u2192": "->", "\u2026": "...", "\u2013": "-", "\u2014": "-", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
)


def watchdog_interval(environ: Mapping[str, str] | None = None) -> float | None:
    """Seconds within which systemd wants a sign of life, or None if it wants none: sd_watchdog_enabled(3)."""
    environ = os.environ if environ is None else environ
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


class Notifier:
    """Tells systemd how the service is; connects with the first message."""

    def __init__(self) -> None:
        self._library: _Library | None = None
        self._owed = ""

    def ready(self, status: str = "") -> None:
        """The service has started."""
        self._owed = "READY=1\n"
        self._send(_status(status))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; what is not ASCII is written with the nearest ASCII there is."""
        self._send(_status(text))

    def stopping(self, status: str = "") -> None:
        """The service is about to end."""
        self._owed = ""
        self._send("STOPPING=1\n" + _status(status))

    def reloading(self) -> None:
        """The service reads its configuration again; say :meth:`ready` when that is done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n")

    def watchdog(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1\n")

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping needs at least ``seconds`` more from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}\n")

    def _send(self, message: str) -> None:
        message = self._owed + message
        if not message or not os.environ.get("NOTIFY_SOCKET"):
            return
        try:
            self._connected().notify(message)
        except BlockingIOError:
            return
        except OSError:
            # The socket may have been made anew: the next message connects again.
            self._let_go()
            return
        self._owed = ""

    def _connected(self) -> "_Library":
        if self._library is None:
            self._library = _Library(_connect(os.environ["NOTIFY_SOCKET"]))
        return self._library

    def _let_go(self) -> None:
        if self._library is not None:
            self._library.socket.close()
            self._library = None


class _Library(sdnotify.SystemdNotifier):  # type: ignore[misc]
    """The library on a connection of ours: its own would wait for a systemd that does not read."""

    def __init__(self, connection: socket.socket) -> None:
        # With debug it raises instead of losing messages in silence.
        self.debug = True
        self.socket = connection


def _connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        connection.setblocking(False)
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        connection.close()
        raise
    return connection


def _status(text: str) -> str:
    """The assignment for one status line; the library writes Latin-1, which systemd would refuse."""
    folded = unicodedata.normalize("NFKD", text.translate(_PLAIN)).encode("ascii", "replace").decode()
    one_line = "".join(character if character.isprintable() else " " for character in folded)
    return f"STATUS={one_line[:MAX_STATUS]}\n" if text else ""
