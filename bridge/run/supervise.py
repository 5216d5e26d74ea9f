"""Runs one component for ever: its peer may come and go, its bugs may not hide."""

import asyncio
from collections.abc import Awaitable, Callable

from bridge.backoff import delays
from bridge.errors import Paused, PeerError, Unavailable
from bridge.run.health import Health

PAUSED_FIRST, PAUSED_CAP = 5.0, 60.0
"""Seconds between tries while somebody has to mend something."""


async def keep(health: Health, attempt: Callable[[], Awaitable[None]]) -> None:
    """Runs ``attempt`` again and again, with backoff after each ``PeerError``; ends only when cancelled.

    The first delay is short again once something went through (``health.progressed``), so that a peer that
    merely drops a connection is back at once and one that accepts connections to refuse the work is not.

    Raises:
        RuntimeError: the attempt returned; a worker that ends without being asked is a failure.
        Exception: whatever else the attempt raised; it is a bug and must be seen.
    """
    away, paused = delays(), delays(PAUSED_FIRST, PAUSED_CAP)
    while True:
        failure = await _failure_of(health, attempt)
        if health.failed(failure):
            away, paused = delays(), delays(PAUSED_FIRST, PAUSED_CAP)
        delay = next(paused if isinstance(failure, Paused) else away)
        await asyncio.sleep(max(delay, failure.retry_after or 0.0))


async def _failure_of(health: Health, attempt: Callable[[], Awaitable[None]]) -> PeerError:
    try:
        await attempt()
    except PeerError as error:
        return error
    except asyncio.CancelledError:
        # A library may end our await with a CancelledError that nobody asked for; taken at its word it would
        # end this worker without a trace.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Unavailable(f"the connection to {health.peer} broke off")
    raise RuntimeError(f"{health.label} ended without being asked")
