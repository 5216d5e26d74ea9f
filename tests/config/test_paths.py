"""Root and the service share one set of places; an ordinary user has the own ones."""

import os
from pathlib import Path

import pytest

from bridge.config import paths

OWN = Path("config.toml")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("CONFIG", "STATE", "RUNTIME"):
        monkeypatch.delenv(f"XDG_{name}_{'DIR' if name == 'RUNTIME' else 'HOME'}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", tmp_path / "etc" / "config.toml")
    return tmp_path


def be(user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_root_has_the_places_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    be(0, monkeypatch)
    assert paths.default_config() == paths.SYSTEM_CONFIG
    assert paths.state_dir(OWN, {}) == Path("/var/lib/edge-bridge")
    assert paths.runtime_dir(OWN, {}) == Path("/run/edge-bridge")


def test_an_ordinary_user_has_own_places(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    be(1000, monkeypatch)
    assert paths.default_config() == home / ".config/edge-bridge/config.toml"
    assert paths.state_dir(OWN, {}) == home / ".local/state/edge-bridge"
    assert paths.runtime_dir(OWN, {"XDG_RUNTIME_DIR": "/run/user/1000"}) == Path("/run/user/1000/edge-bridge")
    assert paths.runtime_dir(OWN, {}) == paths.state_dir(OWN, {})


def test_an_ordinary_user_who_has_no_configuration_asks_about_the_service(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    be(1000, monkeypatch)
    paths.SYSTEM_CONFIG.parent.mkdir()
    paths.SYSTEM_CONFIG.touch()
    assert paths.default_config() == paths.SYSTEM_CONFIG
    assert paths.runtime_dir(paths.SYSTEM_CONFIG, {}) == paths.SYSTEM_RUNTIME
    own = home / ".config/edge-bridge/config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert paths.default_config() == own


def test_folders_that_are_closed_to_us_lead_to_the_configuration_of_the_service(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def closed(_: Path) -> bool:
        raise PermissionError

    be(1000, monkeypatch)
    monkeypatch.setattr(Path, "exists", closed)
    assert paths.default_config() == paths.SYSTEM_CONFIG


def test_what_systemd_gives_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    be(1000, monkeypatch)
    assert paths.state_dir(OWN, {"STATE_DIRECTORY": "/a:/b"}) == Path("/a")
    assert paths.runtime_dir(OWN, {"RUNTIME_DIRECTORY": "/c"}) == Path("/c")
