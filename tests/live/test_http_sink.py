"""The HTTP sink over a network that breaks at every point: nothing is lost, nothing is confirmed too early."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import PeerError, Rejected
from bridge.event import Event
from bridge.ports import Site
from bridge.sinks.http_endpoint import HttpSettings, HttpSink
from bridge.wire import json_format
from tests.kit.certificates import CertificateKit
from tests.kit.proxy import ChaosProxy
from tests.kit.receiver import Answer, Arrival, Behaviour, Drop, Receiver

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

COUNT = 400
POISON = frozenset(range(7, COUNT, 61))
FAILURES: Sequence[Behaviour] = (Answer(503), Answer(429), Drop("after reading"), Drop("in mid-response"))


def event(number: int) -> Event:
    return Event.create(
        id=str(number),
        source="urn:x",
        type="com.example.t",
        datacontenttype="application/json",
        data=b'{"n":%d,"t":21.50}' % number,
    )


class Judge:
    """Refuses the poisoned, and now and then fails in one of the ways that servers have."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def __call__(self, arrivals: Sequence[Arrival]) -> Behaviour:
        if self._dice.random() < 0.02:
            return self._dice.choice(FAILURES)
        if any(int(arrival.key[1]) in POISON for arrival in arrivals):
            return Answer(422, {}, b"poison")
        return Answer()


async def deliver(sink: HttpSink, receiver: Receiver) -> tuple[set[int], set[int]]:
    """Sends everything as the courier does; what was confirmed and what was rejected."""
    confirmed: set[int] = set()
    rejected: set[int] = set()
    waiting = list(range(COUNT))
    while waiting:
        try:
            async with sink.open() as delivery:
                while waiting:
                    batch = waiting[: sink.max_events]
                    done, refused = set(batch), set[int]()
                    try:
                        await delivery.send([event(number) for number in batch])
                    except Rejected as error:
                        refused = {batch[index] for index in error.rejected}
                    except PeerError as error:
                        refused = {batch[index] for index in error.rejected}
                        done = {batch[index] for index in error.confirmed} | refused
                        raise
                    finally:
                        confirmed |= done - refused
                        rejected |= refused
                        waiting = [number for number in waiting if number not in done]
                        # The law: what is settled was answered with 2xx, at every moment.
                        assert all(("urn:x", str(number)) in receiver.accepted for number in done - refused)
        except PeerError:
            await asyncio.sleep(0.01)
    return confirmed, rejected


async def disturb(proxy: ChaosProxy, dice: random.Random) -> None:
    while True:
        await asyncio.sleep(dice.uniform(0.1, 0.6))
        await dice.choice([proxy_reset, proxy_cut, proxy_outage])(proxy, dice)


async def proxy_reset(proxy: ChaosProxy, _: random.Random) -> None:
    proxy.reset()


async def proxy_cut(proxy: ChaosProxy, dice: random.Random) -> None:
    proxy.cut_after(dice.randrange(1, 3000), dice.choice(["up", "down"]))


async def proxy_outage(proxy: ChaosProxy, dice: random.Random) -> None:
    proxy.refuse()
    proxy.reset()
    await asyncio.sleep(dice.uniform(0.0, 0.1))
    await proxy.accept()


@pytest.fixture
async def chaos(tmp_path: Path) -> AsyncIterator[tuple[Receiver, ChaosProxy, CertificateKit]]:
    kit = CertificateKit(tmp_path / "certificates")
    dice = random.Random(7)
    async with (
        Receiver(tls=kit.server_context(demand_client=True), judge=Judge(dice)) as receiver,
        ChaosProxy(receiver.port) as proxy,
    ):
        disturbing = asyncio.create_task(disturb(proxy, dice))
        yield receiver, proxy, kit
        disturbing.cancel()
        await asyncio.wait({disturbing})


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_a_network_that_breaks_everywhere_loses_nothing_and_confirms_nothing_too_early(
    chaos: tuple[Receiver, ChaosProxy, CertificateKit], mode: str
) -> None:
    receiver, proxy, kit = chaos
    settings = HttpSettings.model_validate(
        {
            "url": f"https://localhost:{proxy.port}/events",
            "mode": mode,
            "gzip": mode == "batch",
            "timeout": 1,
            "tls": {"ca": kit.ca, "cert": kit.client.cert, "key": kit.client.key},
        }
    )
    confirmed, rejected = await deliver(settings.build("web", Site("gw", SystemClock())), receiver)
    assert rejected == POISON
    assert confirmed == set(range(COUNT)) - POISON
    assert not receiver.changed
    if mode != "binary":
        assert all(a.raw == json_format.encode(event(int(a.key[1]))) for a in receiver.arrivals)
