"""What was published and waits for the broker's confirmation."""

import asyncio
from collections.abc import Callable

from bridge.errors import PeerError, Rejected, Unavailable
from bridge.mqtt_session.reasons import FAILURE, concerns_the_message, refusal

WINDOW = 200
"""Messages under way at most; fewer when the broker says so (MQTT 5.0 §3.2.2.3.3, receive maximum)."""


class Outbox:
    """The outgoing messages of one connection."""

    def __init__(self, peer: str, timeout: float) -> None:
        self._peer = peer
        self._timeout = timeout
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._window = asyncio.Semaphore(WINDOW)
        self._failure: PeerError | None = None

    def limit(self, receive_maximum: int) -> None:
        """The broker takes no more than so many unconfirmed messages; to be told before the first is sent."""
        self._window = asyncio.Semaphore(min(receive_maximum, WINDOW))

    async def confirmed(self, topic: str, send: Callable[[], int]) -> None:
        """Sends one message when there is room, and returns when it is confirmed.

        Args:
            topic: for the errors.
            send: sends it and returns its packet identifier; ValueError if the protocol forbids it.

        Raises:
            Rejected: the broker, or the protocol, will never accept this message.
            Paused: it refuses until somebody mends something.
            Unavailable: no confirmation came.
        """
        async with self._window:
            if self._failure is not None:
                raise self._failure
            try:
                packet = send()
            except ValueError as error:
                raise Rejected({0: f'"{topic}" cannot be published to: {error}'}) from error
            self._waiting[packet] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout):
                    code = await self._waiting[packet]
            except TimeoutError as error:
                raise Unavailable(f"{self._peer} did not confirm a message to {topic} in time") from error
            finally:
                self._waiting.pop(packet, None)
        if code >= FAILURE:
            refused = refusal(self._peer, f"refuses a message to {topic}", code)
            raise Rejected({0: refused.why}) if concerns_the_message(code) else refused

    def confirm(self, packet: int, code: int) -> None:
        """The broker has confirmed or refused a message, or it was written and needs no confirmation."""
        future = self._waiting.get(packet)
        if future is not None and not future.done():
            future.set_result(code)

    def fail(self, failure: PeerError) -> None:
        """Nothing more will be confirmed, for this reason."""
        self._failure = failure
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(failure)
                future.exception()  # whoever waits still gets it, but nobody has to
