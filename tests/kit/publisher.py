"""A device that publishes numbered readings with QoS 1 and knows which of them the broker has acknowledged.

Speaks just enough MQTT 3.1.1 itself: it must be cheap beside what it feeds, and must never send anything
again, so that a reading that arrives under two ids was doubled by somebody else.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Self

CONNACK, PUBLISH, PUBACK = 0x20, 0x32, 0x40
_POLL = 0.05


def reading(number: int) -> bytes:
    """About 200 bytes that hold ``number`` as ``n`` and are the same for the same number."""
    return b'{"n":%d,"temperature":%d.50,"pressure":1.013,"state":"running","note":"%s"}' % (
        number,
        number % 90,
        b"abcdefghij" * 13,
    )


class Publisher:
    """Publishes readings 0, 1, 2, …; a lost connection is made again, what was in flight is not sent again.

    Args:
        port: where the broker listens on the loopback interface.
        topic: where it publishes.
        payload: makes the payload of a number.
        window: how many may wait for their PUBACK.
    """

    def __init__(
        self,
        port: int,
        topic: str = "plant/boiler",
        *,
        payload: Callable[[int], bytes] = reading,
        window: int = 400,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.sent = 0
        self.acked: set[int] = set()
        self._port = port
        self._topic = topic.encode()
        self._payload = payload
        self._window = window
        self._tls = tls
        self._login = login
        self._in_flight: dict[int, int] = {}
        self._moved = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        """Connects."""
        await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnects."""
        await self._disconnect()

    async def publish(self, count: int, *, rate: float | None = None) -> None:
        """Publishes the next ``count`` readings, at most ``rate`` a second, and waits for their PUBACKs.

        Returns when each was acknowledged or lost its connection before; ``acked`` tells which were.
        """
        loop = asyncio.get_running_loop()
        start, first = loop.time(), self.sent
        until = first + count
        while self.sent < until:
            allowed = until if rate is None else min(until, first + 1 + int((loop.time() - start) * rate))
            room = min(allowed - self.sent, self._window - len(self._in_flight))
            if room > 0 and self._connected:
                self._send(room)
            if allowed < until and self._connected:
                await asyncio.sleep(min(0.01, 1 / (rate or 1.0)))
            else:
                await self._progress()
        while self._in_flight:
            await self._progress()

    def _send(self, count: int) -> None:
        assert self._writer is not None
        packets = bytearray()
        for number in range(self.sent, self.sent + count):
            packet_id = number % 0xFFFF + 1
            self._in_flight[packet_id] = number
            packets += _publish(self._topic, packet_id, self._payload(number))
        self.sent += count
        self._writer.write(packets)

    async def _progress(self) -> None:
        if not self._connected:
            await self._reconnect()
            return
        self._moved.clear()
        await self._moved.wait()

    @property
    def _connected(self) -> bool:
        return self._reader is not None and not self._reader.done()

    async def _reconnect(self) -> None:
        await self._disconnect()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            await self._connect()
            return
        await asyncio.sleep(_POLL)

    async def _connect(self) -> None:
        async with asyncio.timeout(10):
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
            self._writer.write(_connect(self._login))
            answer = await reader.readexactly(4)
        if answer[0] != CONNACK or answer[3] != 0:
            raise ConnectionRefusedError(f"the broker refused the publisher: {answer.hex()}")
        self._reader = asyncio.create_task(self._read(reader))

    async def _disconnect(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(5):
                    await self._writer.wait_closed()
            self._writer = None
        self._in_flight.clear()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    # Every packet that a 3.1.1 publisher is sent has two bytes behind its two of header.
                    kind, _, packet_id = struct.unpack("!BBH", await reader.readexactly(4))
                    if kind == PUBACK:
                        self.acked.add(self._in_flight.pop(packet_id))
                        self._moved.set()
        finally:
            self._in_flight.clear()
            self._moved.set()


def _connect(login: tuple[str, str] | None) -> bytes:
    body = b"\x00\x04MQTT\x04" + (b"\xc2" if login else b"\x02") + struct.pack("!H", 0)
    for text in ("e2e-publisher", *(login or ())):
        body += struct.pack("!H", len(text.encode())) + text.encode()
    return b"\x10" + _length(len(body)) + body


def _publish(topic: bytes, packet_id: int, payload: bytes) -> bytes:
    length = 4 + len(topic) + len(payload)
    return b"".join(
        (
            bytes([PUBLISH]),
            _length(length),
            struct.pack("!H", len(topic)),
            topic,
            struct.pack("!H", packet_id),
            payload,
        )
    )


def _length(value: int) -> bytes:
    encoded = bytearray()
    while True:
        value, digit = divmod(value, 128)
        encoded.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(encoded)
