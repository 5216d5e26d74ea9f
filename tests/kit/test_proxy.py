"""The proxy does what its words say; tests of others lean on it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.kit.proxy import ChaosProxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1000):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[ChaosProxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, ChaosProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def test_held_bytes_wait_and_go_on_in_order(proxy: ChaosProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.hold("down")
    writer.write(b"one")
    await proxy.holding("down")
    writer.write(b"two")
    proxy.forward()
    assert await reader.readexactly(6) == b"onetwo"
    writer.close()


async def test_a_cut_comes_after_exactly_so_many_bytes(proxy: ChaosProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.cut_after(3)
    writer.write(b"abcdef")
    got = bytearray()
    with pytest.raises(ConnectionResetError):  # noqa: PT012 - the bytes before it count
        while chunk := await reader.read(10):
            got += chunk
    assert got == b"abc"
    writer.close()


async def test_a_black_hole_is_silent_and_keeps_the_connection(proxy: ChaosProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.black_hole("down")
    writer.write(b"lost")
    await proxy.passing(4, "up")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert proxy.open == 1
    writer.close()


async def test_refusing_and_accepting_keep_the_port(proxy: ChaosProxy) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.accept()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hi")
    assert await reader.readexactly(2) == b"hi"
    writer.close()
