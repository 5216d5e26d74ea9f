"""A scripted AMQP 0-9-1 broker: real frames over real TCP, and answers in whatever order a test wants.

Built on pamqp alone. It stores nothing; what it does with a publish is the test's ``on_publish``::

    async with FakeBroker() as broker:
        broker.on_publish = lambda message: broker.ack(message.tag)
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pamqp.frame
from pamqp import commands
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.common import FieldTable
from pamqp.exceptions import UnmarshalingException
from pamqp.header import ContentHeader, ProtocolHeader

_CAPABILITIES: FieldTable = {"publisher_confirms": True, "basic.nack": True, "connection.blocked": True}


@dataclass
class Published:
    """One message as it arrived; ``tag`` is what confirms name."""

    tag: int
    exchange: str
    routing_key: str
    mandatory: bool
    header: ContentHeader
    body: bytes

    @property
    def message_id(self) -> str | None:
        return self.header.properties.message_id


class FakeBroker:
    """Listens on ``port`` of the loopback; one client at a time.

    Attributes:
        published: every message of the present connection, in order.
        most_open: the most messages that were without an answer at a time.
        login: what the client said to log in: mechanism and response.
    """

    def __init__(self, *, frame_max: int = 131_072, exchanges: tuple[str, ...] = ("telemetry",)) -> None:
        self.port = 0
        self.on_publish: Callable[[Published], None] = lambda message: self.ack(message.tag)
        self.on_login: Callable[[], None] = self._tune
        self.on_vhost: Callable[[], None] = lambda: self.write(0, commands.Connection.OpenOk())
        self.published: list[Published] = []
        self.most_open = 0
        self.login: tuple[str, str] = ("", "")
        self._frame_max = frame_max
        self._exchanges = exchanges
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[int] = set()
        self._changed = asyncio.Event()
        self._incoming: tuple[commands.Basic.Publish, ContentHeader | None, bytearray] | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def received(self, count: int) -> None:
        """Returns when so many messages have arrived on the present connection."""
        async with asyncio.timeout(20):
            while len(self.published) < count:
                self._changed.clear()
                await self._changed.wait()

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._answered(tag, multiple)
        self.write(1, commands.Basic.Ack(tag, multiple))

    def nack(self, tag: int, *, multiple: bool = False) -> None:
        self._answered(tag, multiple)
        self.write(1, commands.Basic.Nack(tag, multiple, False))

    def give_back(self, message: Published) -> None:
        """``basic.return``; the ack is the test's business."""
        self.write(1, commands.Basic.Return(312, "NO_ROUTE", message.exchange, message.routing_key))
        self.write(1, message.header)
        if message.body:
            self.write(1, ContentBody(message.body))

    def close_channel(self, code: int, text: str) -> None:
        self.write(1, commands.Channel.Close(code, text, 60, 40))

    def close_connection(self, code: int, text: str) -> None:
        self.write(0, commands.Connection.Close(code, text, 0, 0))

    def block(self) -> None:
        self.write(0, commands.Connection.Blocked("low on memory"))

    def drop(self) -> None:
        """The connection is gone without a word."""
        if self._writer is not None:
            self._writer.transport.abort()

    def deafen(self) -> None:
        """Reads nothing any more, as RabbitMQ does while an alarm is on; what the client sends piles up."""
        if self._writer is not None:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def listen_again(self) -> None:
        """Reads what has piled up."""
        if self._writer is not None:
            self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def hung_up(self) -> None:
        """Returns when the present connection is at its end."""
        async with asyncio.timeout(20):
            while self._tasks:
                await asyncio.wait(self._tasks)

    def write(self, channel: int, frame: Frame | ContentHeader | ContentBody) -> None:
        if self._writer is not None:
            self._writer.write(pamqp.frame.marshal(frame, channel))

    def _answered(self, tag: int, multiple: bool) -> None:
        self._open -= {one for one in self._open if one == tag or (multiple and one <= tag)}

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writer = writer
        self.published.clear()
        self._open.clear()
        try:
            await self._serve(reader)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        buffer = b""
        while chunk := await reader.read(65536):
            buffer += chunk
            while buffer:
                try:
                    used, channel, frame = pamqp.frame.unmarshal(buffer)
                except UnmarshalingException:
                    break
                buffer = buffer[used:]
                self._heard(channel, frame)

    def _heard(self, channel: int, frame: object) -> None:
        match frame:
            case ProtocolHeader():
                self.write(0, commands.Connection.Start(0, 9, {"capabilities": _CAPABILITIES}, "PLAIN EXTERNAL"))
            case commands.Connection.StartOk():
                self.login = (frame.mechanism, frame.response)
                self.on_login()
            case commands.Connection.Open():
                self.on_vhost()
            case commands.Connection.Close():
                self.write(0, commands.Connection.CloseOk())
            case commands.Channel.Open():
                self.write(channel, commands.Channel.OpenOk())
            case commands.Channel.Close():
                self.write(channel, commands.Channel.CloseOk())
            case commands.Confirm.Select():
                self.write(channel, commands.Confirm.SelectOk())
            case commands.Exchange.Declare():
                self._declared(frame)
            case commands.Basic.Publish():
                self._incoming = (frame, None, bytearray())
            case ContentHeader() | ContentBody():
                self._content(frame)

    def _tune(self) -> None:
        self.write(0, commands.Connection.Tune(2047, self._frame_max, 60))

    def _declared(self, frame: commands.Exchange.Declare) -> None:
        assert frame.passive, "the sink declares nothing"
        if frame.exchange in self._exchanges:
            self.write(1, commands.Exchange.DeclareOk())
        else:
            self.close_channel(404, f"NOT_FOUND - no exchange '{frame.exchange}' in vhost '/'")

    def _content(self, frame: ContentHeader | ContentBody) -> None:
        assert self._incoming is not None
        publish, header, body = self._incoming
        if isinstance(frame, ContentHeader):
            header = frame
        else:
            body += frame.value or b""
        self._incoming = (publish, header, body)
        assert header is not None
        if len(body) < (header.body_size or 0):
            return
        self._incoming = None
        tag = len(self.published) + 1
        self.published.append(
            Published(
                tag,
                publish.exchange or "",
                publish.routing_key or "",
                bool(publish.mandatory),
                header,
                bytes(body),
            )
        )
        self._open.add(tag)
        self.most_open = max(self.most_open, len(self._open))
        self.on_publish(self.published[-1])
        self._changed.set()
