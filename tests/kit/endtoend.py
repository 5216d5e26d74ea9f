"""What the end-to-end tests share: tables of a configuration, and the queue at the far side."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aio_pika.abc import AbstractIncomingMessage

from bridge.report import BridgeReport
from tests.kit.rabbitmq import PASSWORD, USER, RabbitBroker
from tests.kit.receiver import Receiver
from tests.kit.tally import Tally

EVENT = 'event = { type = "com.example.boiler.reading.measured" }'


def mqtt_table(port: int, name: str = "boiler", *, topic: str = "plant/boiler", more: str = "") -> str:
    """An MQTT source; ``more`` are further keys."""
    return (
        f'[sources.{name}]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\ntopics = ["{topic}"]\n'
        f"{EVENT}\n{more}\n\n"
    )


def serial_table(port: Path, name: str = "scale") -> str:
    """A serial source whose device sends JSON lines."""
    return f'[sources.{name}]\nkind = "serial"\nport = "{port}"\nbaudrate = 115200\n{EVENT}\n\n'


def http_table(url: str, name: str = "web", *, mode: str = "structured", more: str = "") -> str:
    """An HTTP sink; ``more`` are further keys."""
    return f'[sinks.{name}]\nkind = "http"\nurl = "{url}"\nmode = "{mode}"\n{more}\n\n'


def stored(count: int) -> Callable[[BridgeReport], bool]:
    """Whether that many events were made durable since the start."""
    return lambda report: sum(source.stored for source in report.sources) >= count


def down(name: str) -> Callable[[BridgeReport], bool]:
    """Whether the sink has lost its peer."""
    return lambda report: any(sink.name == name and sink.state == "down" for sink in report.sinks)


def posted(receiver: Receiver) -> Tally:
    """What the receiver has taken with a 2xx, every time that it came."""
    tally = Tally()
    for arrival in receiver.arrivals:
        if arrival.key in receiver.accepted:
            tally.add(arrival.raw)
    return tally


@dataclass(frozen=True)
class FarQueue:
    """A durable queue of its own exchange, both with the same name.

    Attributes:
        secret: the file with the password of RabbitMQ's user.
    """

    rabbit: RabbitBroker
    name: str
    secret: Path

    def table(self, name: str = "cloud", *, port: int | None = None, more: str = "") -> str:
        """An AMQP sink to the exchange, through ``port`` if a proxy is between; ``more`` are further keys."""
        return (
            f'[sinks.{name}]\nkind = "amqp"\nurl = "amqp://127.0.0.1:{port or self.rabbit.port}"\n'
            f'username = "{USER}"\npassword_file = "{self.secret}"\n'
            f'exchange = "{self.name}"\nrouting_key = "{{type}}"\n{more}\n\n'
        )

    async def collect(self, tally: Tally, done: Callable[[], bool], *, within: float = 60.0) -> None:
        """Consumes into ``tally`` until ``done`` and the queue stays empty; gives up silently in time.

        Whatever is wrong then, the tally's own assertion says it better than a timeout would.
        """
        loop = asyncio.get_running_loop()
        latest = loop.time()

        async def arrived(message: AbstractIncomingMessage) -> None:
            nonlocal latest
            tally.add(message.body)
            latest = loop.time()

        async with await self.rabbit.connect() as connection:
            channel = await connection.channel()
            await (await channel.get_queue(self.name)).consume(arrived, no_ack=True)
            start = loop.time()
            while loop.time() - start < within and not (done() and loop.time() - latest > 0.5):
                await asyncio.sleep(0.05)

    async def bodies(self, count: int, *, within: float = 30.0) -> list[bytes]:
        """The next ``count`` messages."""
        bodies: list[bytes] = []
        enough = asyncio.Event()

        async def arrived(message: AbstractIncomingMessage) -> None:
            bodies.append(message.body)
            if len(bodies) >= count:
                enough.set()

        async with await self.rabbit.connect() as connection, asyncio.timeout(within):
            channel = await connection.channel()
            await (await channel.get_queue(self.name)).consume(arrived, no_ack=True)
            await enough.wait()
        return bodies


async def far_queue(rabbit: RabbitBroker, name: str, folder: Path) -> FarQueue:
    """Declares exchange and queue."""
    secret = folder / "rabbit-password"
    await asyncio.to_thread(secret.write_text, PASSWORD, encoding="utf-8")
    await rabbit.declare(name, exchange=name)
    return FarQueue(rabbit, name, secret)
