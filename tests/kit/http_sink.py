"""What the tests of the HTTP sink share."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from bridge.clock import SystemClock
from bridge.errors import PeerError
from bridge.event import Event
from bridge.ports import Site
from bridge.sinks.http_endpoint import HttpSettings, HttpSink
from tests.kit.receiver import Answer, Arrival, Behaviour, Receiver

SITE = Site("gw", SystemClock())


def event(number: int, data: bytes | None = b'{"t":21.50}', **changes: Any) -> Event:
    fixed: dict[str, Any] = {
        "id": str(number),
        "source": "urn:x",
        "type": "com.example.t",
        "datacontenttype": "application/json",
        "data": data,
    }
    return Event.create(**{**fixed, **changes})


EVENTS = [event(number) for number in range(10)]


def sink_to(url: str, **options: Any) -> HttpSink:
    return HttpSettings(url=url, **options).build("web", SITE)


async def attempt(sink: HttpSink, batch: Sequence[Event]) -> PeerError:
    """How sending, or opening, fails."""
    with pytest.raises(PeerError) as caught:
        async with sink.open() as delivery:
            await delivery.send(batch)
    return caught.value


def refusing(*bad: int, status: int = 422, body: bytes = b"no such unit") -> Any:
    """A judge that refuses every request with one of these events in it."""

    def judge(arrivals: Sequence[Arrival]) -> Behaviour:
        guilty = any(int(arrival.key[1]) in bad for arrival in arrivals)
        return Answer(status, {}, body) if guilty else Answer()

    return judge


def sent(receiver: Receiver) -> list[int]:
    return [int(arrival.key[1]) for arrival in receiver.arrivals]


async def assert_nothing_runs_since(before: set["asyncio.Task[Any]"]) -> None:
    """No task is left but the server's own; connections that close at this moment get a moment."""
    for _ in range(200):
        left = [
            task for task in asyncio.all_tasks() - before if not re.search("web_protocol|_accept_conn", repr(task))
        ]
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(left)
