"""One connection's worth of publishing: many messages outstanding, every answer matched to its event.

What the broker says, and what it means here:

- ``basic.ack``: confirmed. Nothing else is.
- ``basic.return`` (no queue is bound for the routing key): a fault of the broker's configuration as a rule, so
  nothing is thrown away. What can be routed is delivered, then the sink is ``Paused`` and names exchange and key.
- ``basic.nack`` (a queue with ``reject-publish`` is full): ``Unavailable``, the refused are sent again.
- the message is larger than the broker takes: that event is rejected, the connection begins anew.
- ``connection.blocked``, and silence beyond ``confirm_timeout``: ``Unavailable``.

The first message on a connection goes alone: a broker that an alarm blocks reads nothing, says so only to
publishers, and would process later what every failed attempt had left in its socket.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bridge.codec.template import Template
from bridge.errors import DecodeError, Paused, PeerError, Rejected, Unavailable
from bridge.event import Event
from bridge.sinks.amqp_confirms import Confirms
from bridge.sinks.amqp_connection import ConfirmChannel, peer_error, too_large
from bridge.wire.amqp import Message, Unsendable, binary, content_frames, publish_frame, structured

_CHUNK_EVENTS = 64
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Terms:
    """What every message of a sink has in common; see the settings of the same names."""

    exchange: str
    routing_key: str
    mode: Literal["structured", "binary"]
    header_prefix: str
    window: int
    confirm_timeout: float


class AmqpDelivery:
    """A :class:`bridge.ports.Delivery` over one channel in confirm mode; one ``send`` at a time."""

    def __init__(self, channel: ConfirmChannel, terms: Terms, peer: str) -> None:
        self._channel = channel
        self._terms = terms
        self._peer = peer
        self._template = Template(terms.routing_key)
        self._proven = False

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when the broker has confirmed every event; see the module for what else it may say."""
        sending = _Round(batch, self._channel.delivery_tag)
        self._channel.listener = sending
        try:
            await self._publish(sending)
            await self._answers(sending, down_to=0)
        except PeerError as error:
            raise self._accounted(error, sending) from error
        finally:
            self._channel.listener = None
        self._verdict(sending)

    async def idle(self) -> None:
        """Raises when the broker closes the connection, or stays silent beyond the heartbeat."""
        error = await self._channel.until_closed()
        raise named(peer_error(error, self._channel.login), self._peer) from error

    async def _publish(self, sending: "_Round") -> None:
        position = 0
        while position < len(sending.batch):
            window = self._terms.window if self._proven else 1
            # A chunk at a time: one write to the socket for many messages.
            chunk = min(_CHUNK_EVENTS, window, len(sending.batch) - position)
            if window - sending.confirms.outstanding < chunk:
                await self._answers(sending, down_to=window - chunk)
                self._proven = self._proven or sending.confirms.answered > 0
                continue
            frames, sent, position = self._encode(sending, position, chunk)
            if sent:
                sending.confirms.sent(sent)
                await self._channel.write(frames, len(sent))
                # Lets the socket take this chunk while the next is encoded.
                await asyncio.sleep(0)

    def _encode(self, sending: "_Round", position: int, room: int) -> tuple[bytes, list[int], int]:
        """Frames of the next events, at most ``room``; what cannot be sent is noted and passed over."""
        channel = self._channel
        parts: list[bytes] = []
        sent: list[int] = []
        size = 0
        while position < len(sending.batch) and len(sent) < room and size < _CHUNK_BYTES:
            event = sending.batch[position]
            try:
                key = self._routing_key(event)
                message = self._message(event)
                content = content_frames(message, channel.number, channel.frame_max)
                parts += (publish_frame(channel.number, self._terms.exchange, key), content)
            except DecodeError as error:
                sending.unaddressed[position] = str(error)
            except Unsendable as error:
                sending.rejected[position] = str(error)
            else:
                sent.append(position)
                sending.name(position, message.message_id, key)
                size += len(content)
            position += 1
        return b"".join(parts), sent, position

    def _message(self, event: Event) -> Message:
        if self._terms.mode == "structured":
            return structured(event)
        return binary(event, self._terms.header_prefix)

    def _routing_key(self, event: Event) -> str:
        template = self._template
        if template.constant is not None:
            return template.constant
        if template.text == "{type}":
            return event.type
        return template.render(dict(event.attributes()))

    async def _answers(self, sending: "_Round", down_to: int) -> None:
        """Waits until at most ``down_to`` messages are without an answer.

        Raises:
            Unavailable: the connection broke, or no answer came for the whole of ``confirm_timeout``.
            Paused: the broker closed the channel for a reason that stays.
        """
        confirms = sending.confirms
        while confirms.outstanding > down_to:
            if self._channel.broken is not None:
                raise self._broken(self._channel.broken, sending)
            before = confirms.answered
            waiter = sending.until(down_to)
            try:
                async with asyncio.timeout(self._terms.confirm_timeout):
                    await waiter
            except TimeoutError:
                if confirms.answered == before:
                    raise await self._silence() from None

    def _broken(self, error: BaseException, sending: "_Round") -> PeerError:
        limit = too_large(error)
        if limit is None:
            return peer_error(error, self._channel.login)
        for index in sending.confirms.open():
            size = len(self._message(sending.batch[index]).body)
            if size > limit:
                sending.rejected[index] = f"the message has {size} bytes, the broker takes at most {limit}"
        return Unavailable("the broker closed the channel because a message was too large for it")

    async def _silence(self) -> Unavailable:
        if await self._channel.is_blocked():
            return Unavailable("the broker blocks publishers: it has a memory or disk alarm")
        return Unavailable(f"no confirm within {self._terms.confirm_timeout:g} s")

    def _accounted(self, error: PeerError, sending: "_Round") -> PeerError:
        return named(error, self._peer, sending.confirms.confirmed(), sending.rejected)

    def _verdict(self, sending: "_Round") -> None:
        """Raises for everything in the batch that was not confirmed."""
        returned, refused = sending.confirms.returned(), sending.confirms.refused()
        if returned:
            key = self._routing_key(sending.batch[returned[0]])
            why = (
                f"{len(returned)} messages reached no queue, the first with routing key {key!r}: "
                f"bind a queue to exchange {self._terms.exchange!r} for it"
            )
            raise self._accounted(Paused(why), sending)
        if sending.unaddressed:
            index, reason = next(iter(sending.unaddressed.items()))
            event = sending.batch[index]
            why = (
                f"routing_key = {self._terms.routing_key!r}: {reason} in events of type {event.type!r}, "
                f"source {event.source!r}"
            )
            raise self._accounted(Paused(why), sending)
        if refused:
            why = f"the broker refused {len(refused)} messages (basic.nack): a queue is full or unavailable"
            raise self._accounted(Unavailable(why), sending)
        if sending.rejected:
            raise Rejected(sending.rejected)


class _Round:
    """One ``send``: its batch, the answers to it, and the future that waits for them."""

    def __init__(self, batch: Sequence[Event], last_tag: int) -> None:
        self.batch = batch
        self.confirms = Confirms(last_tag)
        self.rejected: dict[int, str] = {}
        self.unaddressed: dict[int, str] = {}
        self._named: dict[tuple[str | None, str], list[int]] = {}
        self._target = 0
        self._waiter: asyncio.Future[None] | None = None

    def name(self, index: int, message_id: str | None, routing_key: str) -> None:
        """What a return would call this event."""
        self._named.setdefault((message_id, routing_key), []).append(index)

    def until(self, target: int) -> "asyncio.Future[None]":
        """Done when at most ``target`` messages are unanswered, or when the channel breaks."""
        self._target = target
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def answered(self, tag: int, *, multiple: bool, acked: bool) -> None:
        """The broker acked or nacked."""
        self.confirms.answer(tag, multiple=multiple, acked=acked)
        if self.confirms.outstanding <= self._target:
            self.wake()

    def came_back(self, message_id: str | None, routing_key: str) -> None:
        """The broker returned a message. Events that share id and key share the verdict: doubt is sent again."""
        self.confirms.came_back(self._named.get((message_id, routing_key)) or self.confirms.open())

    def wake(self) -> None:
        """There is news for whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def named(
    error: PeerError, peer: str, confirmed: Collection[int] = (), rejected: Mapping[int, str] | None = None
) -> PeerError:
    """The same error, with the name of the peer and what was settled before it."""
    return type(error)(
        f"{peer}: {error.why}", retry_after=error.retry_after, confirmed=confirmed, rejected=rejected
    )
