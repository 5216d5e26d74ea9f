"""Connects to a server and closes again, to see whether it is there and trusts us."""

import asyncio
import socket
import ssl

from bridge.tls import await_refusal

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_CLOSE_SECONDS = 0.5


async def knock(host: str, port: int, context: ssl.SSLContext | None, seconds: float) -> None:
    """Returns when the server took the connection and, with TLS, our certificate; nothing is sent.

    Args:
        host: a name, or an address.
        port: where the server listens.
        context: for TLS, or None.
        seconds: how long connecting may take.

    Raises:
        OSError: nobody answers there, or one of the two does not trust the other; ``TimeoutError`` in time.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(seconds):
        reader, writer = await _connect(host, port, context, seconds)
    try:
        if context is not None:
            await await_refusal(reader, writer, loop.time() - started)
    finally:
        await _say_goodbye(writer)


async def _connect(host: str, port: int, context: ssl.SSLContext | None, seconds: float) -> Streams:
    # Not asyncio's "happy eyeballs": cancelled at the wrong moment they leave tasks and sockets behind.
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    failures: list[OSError] = []
    for address in addresses:
        try:
            # Each gets its share of the time, or one that swallows packets would hide the others.
            async with asyncio.timeout(seconds / len(addresses)):
                if context is None:
                    return await asyncio.open_connection(address, port)
                return await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host, ssl_shutdown_timeout=_CLOSE_SECONDS
                )
        except ssl.SSLError:
            raise  # somebody answered: another address would say the same
        except OSError as error:
            failures.append(error)
    raise failures[0] if failures else socket.gaierror(socket.EAI_NONAME, "it has no address")


async def _say_goodbye(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await writer.wait_closed()
    except OSError:
        pass  # it heard us knock; how it says goodbye does not matter
    finally:
        writer.transport.abort()
