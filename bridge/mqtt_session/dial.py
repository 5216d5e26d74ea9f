"""Opens the socket to a broker: name, address, TCP, TLS; everything can be cancelled and nothing is left open."""

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bridge.errors import Paused, PeerError, Unavailable
from bridge.tls import TlsSettings, explain, is_lasting, patience


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How to connect.

    Attributes:
        client_id: names the session on the broker; no other client may use it.
        keepalive: seconds of silence after which the broker is asked for a sign of life; silence for as long
            again ends the connection.
        tls: context to be used, None for a plain connection.
        tls_settings: what the context was made from, for errors that name its files.
        session_expiry: seconds that the broker keeps the session while we are away (MQTT 5 only).
        clean_start: whether to begin with an empty session.
        receive_maximum: messages that the broker may send ahead of acknowledgement (MQTT 5 only).
        timeout: seconds to wait for the connection, and for each answer of the broker.
    """

    host: str
    port: int
    client_id: str
    protocol: Literal["5", "3.1.1"] = "5"
    keepalive: int = 20
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    tls_settings: TlsSettings | None = None
    session_expiry: int = 0
    clean_start: bool = False
    receive_maximum: int = 500
    timeout: float = 10.0

    @property
    def peer(self) -> str:
        """The broker for people, without credentials."""
        return broker_name(self.host, self.port, tls=self.tls is not None)


def broker_name(host: str, port: int, *, tls: bool) -> str:
    """``mqtt://host:port`` or ``mqtts://host:port``."""
    return f"{'mqtts' if tls else 'mqtt'}://{f'[{host}]' if ':' in host else host}:{port}"


async def open_socket(options: MqttOptions) -> socket.socket:
    """A connected socket that does not block, its TLS handshake done, to the first address that answers.

    Raises:
        Unavailable: nobody answers there.
        Paused: the two sides do not trust each other.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unavailable(f"cannot find the address of {options.peer}: {error.strerror or error}") from error
    sock = await _connect_to_any(options, [(entry[0], entry[4]) for entry in found])
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.tls is not None:
            sock = options.tls.wrap_socket(sock, server_hostname=options.host, do_handshake_on_connect=False)
            started = loop.time()
            await _shake_hands(sock)
            await _await_refusal(sock, patience(loop.time() - started))
    except OSError as error:
        sock.close()
        failure = connection_error(options, error)
        if isinstance(error, ConnectionError):
            failure = Unavailable(f"{options.peer} broke off the TLS handshake (perhaps the port expects no TLS)")
        raise failure from error
    except asyncio.CancelledError:
        sock.close()
        raise
    return sock


def connection_error(options: MqttOptions, error: OSError) -> PeerError:
    """What a failure of the socket means: ``Paused`` when somebody has to mend the TLS settings."""
    told = explain(error, options.tls_settings)
    if is_lasting(error):
        return Paused(f"no TLS with {options.peer}: {told}")
    return Unavailable(f"the connection to {options.peer} broke: {told or error.strerror or error}")


async def _connect_to_any(
    options: MqttOptions, addresses: Sequence[tuple[int, tuple[str | int, ...] | tuple[int, bytes]]]
) -> socket.socket:
    failures: list[str] = []
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        connected = False
        try:
            sock.setblocking(False)
            # Each address gets its share of the time, or one that swallows packets would hide the others.
            async with asyncio.timeout(options.timeout / len(addresses)):
                await asyncio.get_running_loop().sock_connect(sock, address)
            connected = True
        except TimeoutError:
            failures.append("no answer")
        except OSError as error:
            failures.append(os.strerror(error.errno) if error.errno else str(error))
        finally:
            if not connected:
                sock.close()
        if connected:
            return sock
    raise Unavailable(f"cannot reach {options.peer}: {', '.join(dict.fromkeys(failures))}")


async def _await_refusal(sock: ssl.SSLSocket, seconds: float) -> None:
    """Returns when the broker took our certificate, or does not refuse it in time.

    With TLS 1.3 it judges the certificate after our side of the handshake, and to what is written after its
    refusal it answers with a reset, which overtakes the alert that names the cause.

    Raises:
        OSError: the broker refused us.
    """
    if sock.version() != "TLSv1.3":
        return
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, _settle, ready)
    try:
        async with asyncio.timeout(seconds):
            await ready
    except TimeoutError:
        return
    finally:
        loop.remove_reader(sock)
    try:
        closed = not sock.recv(1)
    except ssl.SSLWantReadError:
        return  # what came is a ticket for the next session: only who is let in gets one
    raise ConnectionResetError("closed" if closed else "the broker speaks out of turn")


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    loop = asyncio.get_running_loop()
    while True:
        ready = loop.create_future()
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            loop.add_reader(sock, _settle, ready)
        except ssl.SSLWantWriteError:
            loop.add_writer(sock, _settle, ready)
        else:
            return
        try:
            await ready
        finally:
            loop.remove_reader(sock)
            loop.remove_writer(sock)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
