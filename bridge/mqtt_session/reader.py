"""Reads the socket of one connection: messages into the inbox, everything else for the library."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from bridge.clock import Clock
from bridge.errors import PeerError, Unavailable
from bridge.mqtt_session.dial import MqttOptions, connection_error
from bridge.mqtt_session.inbox import Inbox
from bridge.mqtt_session.packets import Inbound, Malformed

_CHUNK = 1 << 16


class Reader:
    """Reads while there is room in the inbox, from :meth:`start` to :meth:`stop`.

    Args:
        handle: called when bytes for the library wait in :meth:`take`; leaves none of them that it can use.
        lose: called once with the reason when the connection is of no use any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        inbox: Inbox,
        options: MqttOptions,
        clock: Clock,
        handle: Callable[[], None],
        lose: Callable[[PeerError], None],
    ) -> None:
        self._sock = sock
        self._inbox = inbox
        self._options = options
        self._clock = clock
        self._handle = handle
        self._lose = lose
        self._inbound = Inbound(version5=options.protocol == "5")
        self._others = bytearray()
        self._stopped = False
        self._greeted = False
        self.paused = True

    def start(self) -> None:
        """Reads from now on; also after a pause."""
        self.paused = False
        asyncio.get_running_loop().add_reader(self._sock, self.read)
        # What OpenSSL has decrypted already makes no socket readable.
        asyncio.get_running_loop().call_soon(self.read)

    def resume(self) -> None:
        """Reads again if it stopped for want of room and there is room now."""
        if self.paused and not self._stopped and not self._inbox.full:
            self.start()

    def stop(self) -> None:
        """Reads nothing any more."""
        self._stopped = True
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)

    def take(self, size: int) -> bytes:
        """At most ``size`` bytes for the library; stands in for its own read of the socket.

        Raises:
            BlockingIOError: there are none at the moment.
        """
        if not self._others:
            raise BlockingIOError
        taken = bytes(self._others[:size])
        del self._others[:size]
        return taken

    @property
    def pending(self) -> bool:
        """Whether there are bytes to :meth:`take`."""
        return bool(self._others)

    def read(self) -> None:
        """Reads what there is, at most a few chunks; never waits."""
        while not self._stopped and not self.paused:
            try:
                chunk = self._sock.recv(_CHUNK)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except ConnectionError as error:
                self._lose(connection_error(self._options, error) if self._greeted else self._unanswered())
                return
            except OSError as error:
                self._lose(connection_error(self._options, error))
                return
            if not chunk:
                hint = "if it does so again and again, another client may have the same client_id"
                gone = Unavailable(f"{self._options.peer} closed the connection; {hint}")
                self._lose(gone if self._greeted else self._unanswered())
                return
            self._greeted = True
            self._feed(chunk)
            if not (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
                return

    def _feed(self, chunk: bytes) -> None:
        trouble: PeerError | None = Unavailable(f"{self._options.peer} sends what cannot be understood")
        try:
            messages, others = self._inbound.feed(chunk, self._clock.now())
            if messages:
                self._inbox.put(messages)
            self._others += others
            if self._others:
                self._handle()
            trouble = None
        except Malformed as error:
            trouble = Unavailable(f"{self._options.peer} sends what is no MQTT: {error}")
        finally:
            # Also when the library failed on what it was given: better a new connection than a deaf one.
            if trouble is not None:
                self._lose(trouble)
        if self._inbox.full and not self._stopped:
            self.paused = True
            asyncio.get_running_loop().remove_reader(self._sock)

    def _unanswered(self) -> PeerError:
        hint = "" if self._options.tls else " (perhaps the port expects TLS)"
        return Unavailable(f"{self._options.peer} closed the connection without an answer{hint}")
