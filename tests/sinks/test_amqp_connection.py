"""The door to the AMQP library: its private surface that we stand on, and how it is told where to go."""

import inspect

import aio_pika
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.connection import Connection, TransportFactory
from yarl import URL

from bridge.sinks.amqp_connection import Login


async def test_the_private_surface_of_the_library_is_still_there() -> None:
    for name in ("_on_confirm_frame", "_on_return_frame", "_get_frame", "_read_content"):
        assert inspect.iscoroutinefunction(getattr(Channel, name)), name
    assert list(inspect.signature(Channel._on_confirm_frame).parameters) == ["self", "frame"]
    assert list(inspect.signature(Channel._on_return_frame).parameters) == ["self", "frame"]
    assert list(inspect.signature(Channel._read_content).parameters) == ["self", "frame", "header"]
    assert {"connector", "number", "publisher_confirms", "frame_buffer"} <= inspect.signature(
        Channel.__init__
    ).parameters.keys()
    assert {"payload", "should_close", "drain_future"} == set(ChannelFrame.__dataclass_fields__)
    assert "transport_factory" in inspect.signature(Connection.__init__).parameters
    assert inspect.iscoroutinefunction(TransportFactory.create)
    connection = aio_pika.Connection(URL("amqp://localhost"))
    assert isinstance(connection.kwargs, dict)
    await connection.close()


def test_the_url_of_the_library_keeps_every_character_of_the_secrets() -> None:
    login = Login("fe80::1", 5671, "plants/7 %", "ed@e", "p@:/?#%&+ ü", 10, "edge-bridge gw & cloud")
    url = login.url("amqps")
    assert (url.scheme, url.host, url.port) == ("amqps", "fe80::1", 5671)
    assert (url.user, url.password) == ("ed@e", "p@:/?#%&+ ü")
    assert url.path[1:].replace("%2F", "/") == "plants/7 %"
    assert url.query == {"heartbeat": "10", "auth": "plain", "name": "edge-bridge gw & cloud"}


def test_a_login_never_shows_its_password() -> None:
    assert "hunter2" not in repr(Login("h", 5672, "/", "edge", "hunter2", 10, "n"))
