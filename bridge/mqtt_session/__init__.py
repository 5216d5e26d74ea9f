"""One connection to an MQTT broker: manual acknowledgement, reason codes that count, nothing left behind.

aiomqtt and paho do the protocol; this module decides what is read, what is acknowledged and when it is over:

- A session object is one connection attempt. A packet identifier means nothing on another connection, so
  nothing of one connection can reach the next.
- The socket is opened and read here. PUBLISH packets are taken out of each chunk in one pass
  (:mod:`.packets`), a burst is acknowledged with one write; everything else goes
  through paho as usual. paho reads byte by byte and makes a dozen calls per message: that is four fifths of
  the cost of a message, and cost per message is what a small gateway has least of.
- Brokers send more than the receive maximum allows (mosquitto 2.0.11 does), and MQTT 3.1.1 knows no such
  limit. So when too much waits for its acknowledgement the socket is not read any more: memory stays bounded,
  the broker keeps the rest, and the flow goes on where it stopped. A stop of more than the keep-alive time
  ends the connection.

Private surface used, named by a contract test: ``aiomqtt.Client._client``; of paho's client ``_create_socket``,
``_sock_recv`` and ``_packet_queue``.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Collection, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiomqtt
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.clock import Clock
from bridge.errors import Paused, PeerError, Unavailable
from bridge.mqtt_session.dial import MqttOptions, broker_name, open_socket
from bridge.mqtt_session.inbox import Bounds, Burst, Inbox
from bridge.mqtt_session.outbox import WINDOW, Outbox
from bridge.mqtt_session.packets import Message, acknowledgements
from bridge.mqtt_session.reader import Reader
from bridge.mqtt_session.reasons import FAILURE, reason_text, refusal

__all__ = ["Bounds", "Burst", "Message", "MqttOptions", "MqttSession", "broker_name"]

T = TypeVar("T")
_TICK = 1.0
_KEEP_ALIVE = 141
_FILTERS_PER_PACKET = 64

# The supervisor writes the one line per outage; what the library has to say is in our exceptions.
_library_log = logging.getLogger("bridge.mqtt_session.library")
_library_log.setLevel(logging.CRITICAL + 1)


class MqttSession:
    """One connection: ``async with`` connects and leaves, whatever happens, without a socket or a task.

    Entering raises ``Unavailable`` or ``Paused``; both name the broker and the cause. The same come out of
    every method that waits once the connection is lost.

    Attributes:
        session_present: whether the broker still had our session, with its subscriptions and messages.
    """

    def __init__(self, options: MqttOptions, clock: Clock, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - frozen
        self._options = options
        self._version5 = options.protocol == "5"
        self._clock = clock
        self._inbox = Inbox(bounds)
        self._writing = False
        self._outbox = Outbox(options.peer, options.timeout)
        self._calls: set[asyncio.Task[Any]] = set()
        self._failure: PeerError | None = None
        self._identifies = True
        self.session_present = False

    async def __aenter__(self) -> Self:
        """Connects and waits for the broker's word."""
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as undo:
            try:
                async with asyncio.timeout(self._options.timeout):
                    self._sock = await open_socket(self._options)
                    undo.push_async_callback(self._close)
                    self._begin()
                    await self._connack
            except TimeoutError as error:
                message = f"{self._options.peer} did not answer within {self._options.timeout:g} s"
                raise Unavailable(message) from error
            undo.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Says goodbye if the connection still stands, and closes it."""
        await self._close()

    def give_up(self, reason: PeerError) -> None:
        """Ends the connection; what waits for something of it gets this reason, unless there was one before."""
        self._lose(reason)

    # --- messages in ----------------------------------------------------------------------------------------

    def bursts(self, max_messages: int, max_bytes: int) -> AsyncGenerator[Burst, None]:
        """Whatever has arrived, in order, as soon as there is something; at most so much at a time.

        A single message may be larger than ``max_bytes``. When the connection is lost, what had arrived
        before comes first, then the error: never a silent end.
        """
        return self._inbox.bursts(max_messages, max_bytes)

    def acknowledge(self, burst: Burst, refused: Collection[int] = ()) -> bool:
        """Acknowledges every message of the burst that has a QoS, in order.

        With MQTT 5 those whose packet identifier is in ``refused`` are answered with "quota exceeded"
        (§3.4.2.1); 3.1.1 has no word for it, they are acknowledged like the others.

        Returns:
            whether the acknowledgements were handed to the connection; False when it is lost already.

        Raises:
            ValueError: the burst came over another connection, or one before it was left out.
        """
        packets = self._inbox.acknowledged(burst)
        if self._failure is not None:
            return False
        if packets:
            pubacks = acknowledgements(packets, refused if self._version5 else ())
            self._paho._packet_queue(paho.PUBACK, pubacks, 0, 1)  # noqa: SLF001 - one write for all of them
        self._reader.resume()
        return True

    def take_dropped(self) -> int:
        """How many messages with QoS 0 were dropped for want of room since the last call."""
        return self._inbox.take_dropped()

    async def subscribe(self, filters: Mapping[str, int], qos: int) -> Sequence[int]:
        """Subscribes, or renews what is subscribed already, with QoS 0 or 1.

        ``filters`` gives each filter an identifier, 1 to 268,435,455; with MQTT 5 its messages carry it, if
        the broker can do that. With MQTT 5 it sends retained messages only for what is new, with 3.1.1 always.

        Returns:
            the quality of service that the broker granted, one for each filter.

        Raises:
            Paused: the broker refused one or more; the message names them.
            Unavailable: the connection is lost.
        """
        if_new = SubscribeOptions(qos=qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
        granted: list[int] = []
        for name, identifier in filters.items():
            if self._version5:
                properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
                if self._identifies:
                    properties.SubscriptionIdentifier = identifier
                codes = await self._call(self._client.subscribe(name, options=if_new, properties=properties))
            else:
                codes = await self._call(self._client.subscribe(name, qos))
            granted += [code.value if isinstance(code, ReasonCode) else code for code in codes]
        refused = {name: code for name, code in zip(filters, granted, strict=True) if code >= FAILURE}
        if refused:
            told = ", ".join(f'"{name}" ({reason_text(code)})' for name, code in refused.items())
            raise Paused(f"{self._options.peer} refuses the subscription to {told}")
        return granted

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ends the subscriptions, those that do not exist included; returns when the broker has confirmed."""
        for start in range(0, len(filters), _FILTERS_PER_PACKET):
            await self._call(self._client.unsubscribe(list(filters[start : start + _FILTERS_PER_PACKET])))

    # --- messages out ---------------------------------------------------------------------------------------

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        contenttype: str | None = None,
        attributes: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Returns when the broker has confirmed (QoS 1, 2) or the message was written (QoS 0).

        ``contenttype`` and ``attributes`` (user properties) need MQTT 5 and are left out otherwise.

        Raises:
            Rejected: the broker, or the protocol, will never accept this message.
            Paused: it refuses until somebody mends something.
            Unavailable: no confirmation came.
        """
        properties = None
        if self._version5 and (contenttype or attributes):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if contenttype:
                properties.ContentType = contenttype
            for pair in attributes:
                properties.UserProperty = pair

        def send() -> int:
            return int(self._paho.publish(topic, payload, qos, retain, properties).mid)

        await self._outbox.confirmed(topic, send)

    # --- the connection -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        options = self._options
        self._connack: asyncio.Future[None] = self._loop.create_future()
        self._ticker = self._loop.create_task(self._tick())
        self._reader = Reader(self._sock, self._inbox, options, self._clock, self._handle, self._lose)
        self._client = aiomqtt.Client(
            options.host,
            options.port,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion.V5 if self._version5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if self._version5 else options.clean_start,
            username=options.username,
            password=options.password,
            timeout=options.timeout,
            logger=_library_log,
        )
        # It never sees a PUBLISH, so it acknowledges nothing by itself.
        self._paho = client = self._client._client  # noqa: SLF001 - aiomqtt has no manual acknowledgement
        client.max_inflight_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_open = None
        client.on_socket_close = lambda *_: self._detach()
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        client._create_socket = lambda: self._sock  # type: ignore[method-assign]  # noqa: SLF001 - opened here
        client._sock_recv = self._reader.take  # type: ignore[assignment, method-assign]  # noqa: SLF001 - and read here
        more: dict[str, Any] = {}
        if self._version5:
            wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            wishes.SessionExpiryInterval = options.session_expiry
            wishes.ReceiveMaximum = options.receive_maximum
            more = {"clean_start": options.clean_start, "properties": wishes}
        client.connect(options.host, options.port, options.keepalive, **more)
        self._reader.start()

    async def _tick(self) -> None:
        # Sends pings and notices that they are not answered; _on_disconnect is called then.
        while self._paho.loop_misc() == paho.MQTT_ERR_SUCCESS:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(_TICK)

    def _handle(self) -> None:
        while self._reader.pending and self._failure is None:
            self._paho.loop_read()

    def _on_register_write(self, *_: object) -> None:
        # Soon rather than when the socket says so: it nearly always has room, and asking costs two system calls.
        self._loop.call_soon(self._writable)

    def _on_unregister_write(self, *_: object) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sock)

    def _writable(self) -> None:
        if self._failure is not None:
            return
        if self._failure is None:
            self._paho.loop_write()
        if self._paho.want_write() and not self._writing and self._failure is None:
            self._writing = True
            self._loop.add_writer(self._sock, self._writable)

    def _on_connect(
        self, _client: object, _data: object, flags: paho.ConnectFlags, reason: ReasonCode, granted: object
    ) -> None:
        if reason.value >= FAILURE:
            self._lose(refusal(self._options.peer, "refuses the connection", reason.value))
            return
        self.session_present = flags.session_present
        # paho ignores how many messages the broker takes unconfirmed, and would be thrown out for more.
        self._outbox.limit(getattr(granted, "ReceiveMaximum", WINDOW))
        self._identifies = bool(getattr(granted, "SubscriptionIdentifierAvailable", 1))
        if not self._connack.done():
            self._connack.set_result(None)

    def _on_disconnect(
        self, _client: object, _data: object, flags: paho.DisconnectFlags, reason: ReasonCode, _more: object
    ) -> None:
        peer, patience = self._options.peer, self._options.keepalive
        if flags.is_disconnect_packet_from_server:
            self._lose(refusal(peer, "ended the connection", reason.value))
        elif reason.value == _KEEP_ALIVE and self._reader.paused:
            self._lose(Unavailable(f"{peer} was not read for {patience} s, because storing takes so long"))
        elif reason.value == _KEEP_ALIVE:
            self._lose(Unavailable(f"{peer} has been silent for more than {patience} s"))
        else:
            self._lose(Unavailable(f"the connection to {peer} broke"))

    def _on_publish(self, _client: object, _data: object, packet: int, reason: ReasonCode, _more: object) -> None:
        self._outbox.confirm(packet, reason.value)

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a call of the library, or our own error, at once when the connection is lost."""
        task = self._loop.create_task(work)
        self._calls.add(task)
        try:
            if self._failure is None:
                await asyncio.wait({task})
        finally:
            self._calls.discard(task)
            task.cancel()
        if self._failure is not None:
            raise self._failure
        try:
            return task.result()
        except aiomqtt.MqttError as error:
            raise Unavailable(f"{self._options.peer} does not answer: {error}") from error

    def _lose(self, failure: PeerError) -> None:
        """The connection is of no use any more; the first reason counts."""
        if self._failure is not None:
            return
        self._failure = failure
        self._detach()
        self._inbox.fail(failure)
        for call in self._calls:
            call.cancel()
        self._outbox.fail(failure)
        if not self._connack.done():
            self._connack.set_exception(failure)
            self._connack.exception()  # whoever waits still gets it, but nobody has to

    def _detach(self) -> None:
        self._reader.stop()
        if self._sock.fileno() >= 0:
            self._loop.remove_writer(self._sock)

    async def _close(self) -> None:
        if self._failure is None:
            if self._connack.done():
                self._paho.disconnect()
                self._paho.loop_write()
            self._lose(Unavailable(f"the connection to {self._options.peer} was closed here"))
        self._detach()
        self._sock.close()
        self._ticker.cancel()
        await asyncio.wait({self._ticker})
