"""What the contestants run between: a mosquitto, a RabbitMQ and an HTTP receiver, the same for all of them."""

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aio_pika

from tests.kit.daemon import ROOT
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.ports import free_port
from tests.kit.rabbitmq import RabbitBroker

EXCHANGE = QUEUE = "bench"
MOSQUITTO = ("max_inflight_messages 1000", "set_tcp_nodelay true")
"""Raised alike for everybody: with the default of 20 in flight the round trips are what is measured. The
queue of a session is unlimited and in memory."""


class FarSide(Protocol):
    """Where events end up."""

    async def count(self) -> int:
        """Readings that arrived and were confirmed."""
        ...

    async def reset(self) -> None:
        """Forgets what arrived."""
        ...


class Queue:
    """A durable queue in RabbitMQ that nobody consumes; its length is the count."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    async def count(self) -> int:
        declared = await self._channel.declare_queue(QUEUE, passive=True)
        return declared.declaration_result.message_count or 0

    async def reset(self) -> None:
        await (await self._channel.get_queue(QUEUE)).purge()


class Endpoint:
    """The HTTP receiver."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def count(self) -> int:
        return int(await self.get("count"))

    async def reset(self) -> None:
        await self.get("reset")

    async def get(self, what: str) -> bytes:
        """One of the receiver's answers."""

        def ask() -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{what}", timeout=10) as answer:
                return bytes(answer.read())

        return await asyncio.to_thread(ask)


class Stage:
    """Everything but the contestant.

    Attributes:
        mosquitto: the local broker.
        rabbit: the far broker, with ``EXCHANGE`` bound to ``QUEUE``.
        http_port: where the receiver listens.
    """

    def __init__(self, broker: Mosquitto, rabbit: RabbitBroker, http_port: int, queue: Queue) -> None:
        self.mosquitto = broker
        self.rabbit = rabbit
        self.http_port = http_port
        self.queue = queue
        self.endpoint = Endpoint(http_port)

    @classmethod
    @asynccontextmanager
    async def built(cls, folder: Path) -> AsyncIterator["Stage"]:
        """Starts all, and ends all on leaving."""
        http_port = free_port()
        receiver = await asyncio.to_thread(spawn, [sys.executable, "-m", "tests.bench.receiver", str(http_port)])
        try:
            with RabbitBroker(folder / "rabbit") as rabbit:
                await rabbit.declare(QUEUE, exchange=EXCHANGE)
                async with (
                    mosquitto(folder / "mosquitto", MOSQUITTO, persistence=False) as broker,
                    await rabbit.connect() as connection,
                ):
                    queue = Queue(await connection.channel())
                    yield cls(broker, rabbit, http_port, queue)
        finally:
            receiver.kill()
            receiver.wait()


def pid_of(broker: Mosquitto) -> int:
    """The broker's process."""
    assert broker._process is not None
    return broker._process.pid


def spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A child that has said its first line."""
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child
