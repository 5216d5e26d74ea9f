"""The loop that one would write first: aiomqtt in, aio-pika or aiohttp out, nothing on disk.

It forwards payloads as they are, without making events of them, confirms and persistence as the bridge has
them. The broker's PUBACK goes out before anything was forwarded, as aiomqtt does it.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aio_pika
import aiohttp
import aiomqtt

Send = Callable[[list[bytes]], Awaitable[None]]
IDENTIFIER = "naive-loop"


@asynccontextmanager
async def amqp(args: argparse.Namespace) -> AsyncIterator[Send]:
    """One persistent, mandatory, confirmed message for each reading."""
    connection = await aio_pika.connect(host="127.0.0.1", port=args.port, login=args.user, password=args.password)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(args.exchange)

        async def send(payloads: list[bytes]) -> None:
            message = aio_pika.Message(payloads[0], delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await exchange.publish(message, routing_key="reading", mandatory=True)

        yield send


@asynccontextmanager
async def http(args: argparse.Namespace) -> AsyncIterator[Send]:
    """One POST for each batch; a batch of one is sent as it is."""
    connector = aiohttp.TCPConnector(limit=args.window)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(payloads: list[bytes]) -> None:
            body = payloads[0] if args.batch == 1 else b"[" + b",".join(payloads) + b"]"
            async with session.post(f"http://127.0.0.1:{args.port}/", data=body) as answer:
                answer.raise_for_status()

        yield send


async def forward(args: argparse.Namespace, to: Callable[..., AbstractAsyncContextManager[Send]]) -> None:
    """``args.window`` sends at once, each of ``args.batch`` readings."""
    client = aiomqtt.Client("127.0.0.1", args.mqtt_port, identifier=IDENTIFIER, clean_session=False)
    async with to(args) as send, client:
        await client.subscribe(args.topic, qos=1)
        if args.enrol:
            return
        room = asyncio.Semaphore(args.window)
        under_way: set[asyncio.Task[None]] = set()
        batch: list[bytes] = []
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            batch.append(message.payload)
            if len(batch) < args.batch:
                continue
            await room.acquire()
            task = asyncio.create_task(_send(send, batch, room))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            batch = []


async def _send(send: Send, batch: list[bytes], room: asyncio.Semaphore) -> None:
    try:
        await send(batch)
    finally:
        room.release()


def main() -> None:
    """``python -m tests.bench.naive amqp|http --mqtt-port … --port …``; prints ``ready`` before it connects."""
    parser = argparse.ArgumentParser()
    parser.add_argument("to", choices=("amqp", "http"))
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--exchange", default="")
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--enrol", action="store_true", help="make the session at the broker and end")
    args = parser.parse_args()
    print("ready", flush=True)
    asyncio.run(forward(args, amqp if args.to == "amqp" else http))


if __name__ == "__main__":
    main()
