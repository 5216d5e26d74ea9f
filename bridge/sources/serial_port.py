"""Readings from a serial port (a USB adapter, an on-board UART) or from a TCP socket in its place.

What arrives is cut into frames at once and waits in memory, bounded, for as long as the spool needs: everything
that has come while one burst was being made durable is the next burst. A serial device never sends again, so
what the bound drops is lost, and counted.
"""

import asyncio
import logging
import termios
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import ClassVar, Literal, cast
from urllib.parse import urlsplit

import serial
import serial_asyncio_fast
from pydantic import Field, field_validator

from bridge.clock import Clock, Moment
from bridge.codec.settings import DelimitedFraming
from bridge.errors import PeerError, Unavailable
from bridge.ports import Frame, Intake, Oversized, Site
from bridge.settings import ByteSize
from bridge.sources.serial_trouble import trouble
from bridge.sources.settings import SourceSettings

log = logging.getLogger(__name__)

QUIET = 1.0
"""Seconds of silence after opening that prove that the first byte to come begins a line."""
FRAME_COST = 256
"""Bytes of memory that a waiting frame costs beside its payload."""
CLOSING = 1.5
"""Seconds that closing a port may take before it is left to itself."""
LAST_BURST = 1.0
"""Seconds that the spool gets for what still waits when the source is stopped."""

CUT_AT_START = "the rest of a line that had begun before the port was opened"
CUT_AT_END = "a line that had not ended when the port was closed"
OVERFLOW = "more came than max_pending holds while the spool could not take it; the oldest were dropped"

_PARITY = {
    "none": serial.PARITY_NONE,
    "even": serial.PARITY_EVEN,
    "odd": serial.PARITY_ODD,
    "mark": serial.PARITY_MARK,
    "space": serial.PARITY_SPACE,
}


class SerialSettings(SourceSettings):
    """A serial port whose device sends a reading per line, or per frame of another kind."""

    kind: Literal["serial"] = "serial"
    port: str
    """The port, best by its stable name: "/dev/serial/by-id/usb-…". For a serial device server or the
    laboratory "socket://host:port", a plain TCP stream."""
    baudrate: int = Field(default=9600, ge=50, le=12_000_000)
    """Bits per second; unusual rates work if the driver knows them."""
    bytesize: Literal[5, 6, 7, 8] = 8
    """Data bits."""
    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    """Parity bit."""
    stopbits: Literal[1, 2] = 1
    """Stop bits."""
    flow_control: Literal["none", "rtscts", "xonxoff", "dsrdtr"] = "none"
    """How the gateway may hold the device back; with "rtscts" or "xonxoff" it does so instead of dropping."""
    dtr: bool | None = None
    """Level of the DTR line once the port is open; left out, the driver raises it. False keeps many boards from
    restarting, although a short pulse at opening cannot be avoided."""
    rts: bool | None = None
    """Level of the RTS line once the port is open; left out, the driver raises it."""
    framing: DelimitedFraming = DelimitedFraming()
    """How the stream is cut into frames."""
    discard_first: bool = True
    """Drop everything up to the first delimiter after opening, since the device may be in the middle of a line
    (counted as lost). When nothing came during the first second, nothing is dropped."""
    max_pending: ByteSize = Field(default=1 << 20, ge=4096, le=1 << 30)
    """How much may wait in memory while the spool cannot take it; then the oldest frames are dropped (counted
    as lost). It must hold what the device sends within one commit interval."""

    @field_validator("port")
    @classmethod
    def _is_path_or_socket(cls, port: str) -> str:
        if port.startswith("/"):
            return port
        url = urlsplit(port)
        if url.scheme == "socket" and "@" not in url.netloc and not (url.path or url.query or url.fragment):
            try:
                if url.hostname and url.port:
                    return port
            except ValueError:
                pass  # the number of the port is none
        msg = 'an absolute path such as "/dev/serial/by-id/usb-…", or "socket://host:port", was expected'
        raise ValueError(msg)

    def build(self, name: str, site: Site) -> "SerialSource":
        """The source that this table describes; does no I/O."""
        return SerialSource(self, site.clock)

    @property
    def peer(self) -> str:
        """The port's path or URL."""
        return self.port

    def sample_captures(self) -> Mapping[str, str]:
        """What frames of this source give to templates: ``port``."""
        return {"port": self.port}


class SerialSource:
    """A serial port as a source of frames; see :class:`bridge.ports.Source`."""

    replayable: ClassVar[bool] = False

    def __init__(self, settings: SerialSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def run(self, intake: Intake) -> None:
        """Opens the port and hands over what comes until cancelled; then what still waits, and closes.

        Raises:
            Unavailable: the port is not there, held by another program, or was unplugged.
            Paused: the port may not be opened, is none, or cannot be set as configured.
        """
        line = _Line(self._settings, self._clock, intake)
        try:
            async with self._opened(line):
                intake.connected(self._settings.port)
                while True:
                    await intake(await line.burst())
        finally:
            # The port is closed, nothing can come any more. What is handed over is in the spool's hands at
            # once; a disk that cannot be written must not hold up the stop.
            rest = line.take()
            if rest:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_BURST):
                        await intake(rest)
            line.count_unfinished()

    @asynccontextmanager
    async def _opened(self, line: "_Line") -> AsyncIterator[None]:
        """The port, open and read into ``line``; however it is left, the port is closed."""
        port = await self._open()
        try:
            transport, _ = await serial_asyncio_fast.connection_for_serial(
                asyncio.get_running_loop(), lambda: line, port
            )
        except (OSError, termios.error) as error:  # it went away between opening and setting it
            await asyncio.to_thread(port.close)
            raise trouble(self._settings.port, error) from error
        try:
            yield
        finally:
            if not transport.is_closing():
                transport.abort()
            await asyncio.wait((line.closed,), timeout=CLOSING)
            if not line.closed.done():
                log.warning("%s: the driver has not closed it after %g s", self._settings.port, CLOSING)

    async def _open(self) -> serial.Serial:
        opening = asyncio.get_running_loop().run_in_executor(None, self._open_blocking)
        try:
            result = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        if isinstance(result, PeerError):
            raise result
        return result

    def _open_blocking(self) -> serial.Serial | PeerError:
        wanted = self._settings
        try:
            port = serial.serial_for_url(
                wanted.port,
                do_not_open=True,
                baudrate=wanted.baudrate,
                bytesize=wanted.bytesize,
                parity=_PARITY[wanted.parity],
                stopbits=wanted.stopbits,
                rtscts=wanted.flow_control == "rtscts",
                xonxoff=wanted.flow_control == "xonxoff",
                dsrdtr=wanted.flow_control == "dsrdtr",
                timeout=0,
                exclusive=True,
            )
            if wanted.dtr is not None:
                port.dtr = wanted.dtr
            if wanted.rts is not None:
                port.rts = wanted.rts
            port.open()
        except (OSError, termios.error, ValueError) as error:
            # Looking for the cause reads directories and accounts, so it belongs into this thread too.
            return trouble(wanted.port, error)
        return port


def _close_unwanted(opening: "asyncio.Future[serial.Serial | PeerError]") -> None:
    """Closes a port that was opened for somebody who was cancelled meanwhile."""
    if opening.cancelled() or opening.exception() is not None:
        return
    port = opening.result()
    if isinstance(port, serial.SerialBase):
        opening.get_loop().run_in_executor(None, port.close)


class _Line(asyncio.Protocol):
    """What came from one opening of the port: bytes in, frames out; never waits for anyone."""

    def __init__(self, settings: SerialSettings, clock: Clock, intake: Intake) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._settings = settings
        self._clock = clock
        self._intake = intake
        self._captures = {"port": settings.port}
        self._can_hold_back = settings.flow_control in {"rtscts", "xonxoff"} or settings.port.startswith("socket:")
        self._framer = settings.framing.build()
        self._opened: float | None = None
        self._waiting: deque[Frame] = deque()
        self._cost = 0
        self._held_back = False
        self._endless = 0
        self._warned = False
        self._news = asyncio.Event()
        self._transport: asyncio.ReadTransport | None = None
        self._cause: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)
        self._opened = self._clock.monotonic()

    def data_received(self, data: bytes) -> None:
        if self._opened is not None:
            self._begin(data, self._clock.monotonic() - self._opened)
            self._opened = None
        now = self._clock.now()
        pieces = self._framer.feed(data)
        for piece in pieces:
            self._enqueue(self._frame(piece, now))
        self._endless = 0 if pieces else self._endless + len(data)
        if self._endless > self._settings.framing.max_length and not self._warned:
            self._warn()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cause = exc
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._news.set()

    async def burst(self) -> list[Frame]:
        """All frames that wait; waits for at least one.

        Raises:
            Unavailable: the port is gone and every frame was taken.
        """
        while not self._waiting:
            if self.closed.done():
                raise Unavailable(
                    f"{self._settings.port} is gone: unplugged, or its device or hub lost power ({self._cause}); "
                    "it is opened again as soon as it is back"
                )
            self._news.clear()
            await self._news.wait()
        return self.take()

    def take(self) -> list[Frame]:
        """All frames that wait."""
        frames = list(self._waiting)
        self._waiting.clear()
        self._cost = 0
        if self._held_back and self._transport is not None:
            self._held_back = False
            self._transport.resume_reading()
        return frames

    def count_unfinished(self) -> None:
        """Counts the beginning of a line whose end never came."""
        if self._framer.unfinished:
            self._intake.lost(1, CUT_AT_END)

    def _warn(self) -> None:
        self._warned = True
        log.warning(
            "%s: bytes come in, but no frame: %d without the delimiter %r; are baudrate (%d) and framing right?",
            self._settings.port,
            self._endless,
            self._settings.framing.delimiter,
            self._settings.baudrate,
        )

    def _begin(self, data: bytes, silence: float) -> None:
        if self._settings.discard_first and silence < QUIET:
            self._framer = self._settings.framing.build(midstream=True)
            if not data.startswith(self._settings.framing.delimiter.encode()):
                self._intake.lost(1, CUT_AT_START)

    def _frame(self, piece: bytes | Oversized, now: Moment) -> Frame:
        port = self._settings.port
        if isinstance(piece, Oversized):
            fault = (
                f"{piece.size:,} bytes without an end, more than framing.max_length = "
                f"{self._settings.framing.max_length:,}; the beginning is kept"
            )
            return Frame(piece.head, now, port, self._captures, fault=fault)
        return Frame(piece, now, port, self._captures)

    def _enqueue(self, frame: Frame) -> None:
        self._waiting.append(frame)
        self._cost += len(frame.payload) + FRAME_COST
        if self._cost <= self._settings.max_pending:
            return
        if self._can_hold_back and self._transport is not None:
            if not self._held_back:
                self._held_back = True
                self._transport.pause_reading()
            return
        dropped = 0
        while self._cost > self._settings.max_pending and len(self._waiting) > 1:
            self._cost -= len(self._waiting.popleft().payload) + FRAME_COST
            dropped += 1
        self._intake.lost(dropped, OVERFLOW)
