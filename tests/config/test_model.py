"""The settings of the gateway and of the program itself."""

import socket

import pytest
from pydantic import ValidationError

from bridge.config.model import BridgeSettings, Config, GatewaySettings
from bridge.event import source_violations
from bridge.host import control


@pytest.mark.parametrize(
    ("host", "id_"),
    [
        ("gw03", "gw03"),
        ("Größe 7", "Gr-e-7"),
        ("(none)", "none"),
        ("", "localhost"),
        ("x" * 64, "x" * 63),
        ("_a.b-", "a.b"),
    ],
)
def test_the_id_is_the_host_name_made_legal(monkeypatch: pytest.MonkeyPatch, host: str, id_: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    gateway = GatewaySettings()
    assert gateway.id == id_
    assert GatewaySettings(id=id_) == gateway


def test_the_source_of_a_gateway_can_be_extended_to_a_legal_one() -> None:
    for source in ("https://example.com/gw/", "/plants/7", "urn:edge-bridge:x"):
        gateway = GatewaySettings(source=source)
        assert not gateway.source.endswith("/")
        assert not list(source_violations(f"{gateway.source}/boiler"))


@pytest.mark.parametrize("source", ["", "a b", "https://example.com/?a=b", "https://example.com/#a", "ä", "a\nb"])
def test_other_sources_are_refused(source: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(source=source)


@pytest.mark.parametrize("id_", ["", "a b", "-a", "a" * 64, "a\n", "ä"])
def test_other_ids_are_refused(id_: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(id=id_)


def test_directories_must_be_absolute() -> None:
    with pytest.raises(ValidationError, match="absolute"):
        BridgeSettings.model_validate({"state_dir": "here"})


def test_the_control_socket_has_the_name_that_the_host_gives_it() -> None:
    names = Config.control_socket.fget.__code__.co_consts  # type: ignore[attr-defined]
    assert control.NAME in names
