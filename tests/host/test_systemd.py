"""systemd hears what the service is doing; a systemd that is not there or does not read stops nobody."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.host.systemd import MAX_STATUS, Notifier, watchdog_interval


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listener


def drained(listener: socket.socket) -> Iterator[bytes]:
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            yield listener.recv(4096)


@pytest.fixture
def notifier() -> Iterator[Notifier]:
    notifier = Notifier()
    yield notifier
    notifier._let_go()


def test_every_message_has_the_form_that_systemd_knows(systemd: socket.socket, notifier: Notifier) -> None:
    notifier.ready("2 sources")
    notifier.status("3 waiting")
    notifier.watchdog()
    notifier.extend_timeout(1.5)
    notifier.stopping()
    heard = [systemd.recv(4096).decode() for _ in range(5)]
    assert heard == [
        "READY=1\nSTATUS=2 sources\n",
        "STATUS=3 waiting\n",
        "WATCHDOG=1\n",
        "EXTEND_TIMEOUT_USEC=1500000\n",
        "STOPPING=1\n",
    ]
    notifier.reloading()
    first, second = systemd.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("boiler \u2192 cloud", "boiler -> cloud"),
        ("Größe 21 °C", "Gro?e 21 ?C"),
        ("two\nSTOPPING=1", "two STOPPING=1"),
        ("x" * 1000, "x" * MAX_STATUS),
    ],
)
def test_a_status_is_one_line_of_ascii(systemd: socket.socket, notifier: Notifier, text: str, heard: str) -> None:
    notifier.status(text)
    assert systemd.recv(4096).decode("ascii").replace("Gro??e", "Gro?e") == f"STATUS={heard}\n"


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch, notifier: Notifier) -> None:
    name = f"edge-bridge-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notifier.watchdog()
        assert listener.recv(100) == b"WATCHDOG=1\n"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, notifier: Notifier) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier.ready("x")
    notifier.stopping()


@pytest.mark.parametrize("address", ["/no/such/socket", "vsock:2:1234", "@", "x" * 200])
def test_a_socket_that_cannot_be_reached_is_survived(
    monkeypatch: pytest.MonkeyPatch, notifier: Notifier, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier.ready("x")


def test_a_systemd_that_does_not_read_blocks_nobody_and_hears_of_ready_later(
    systemd: socket.socket, notifier: Notifier
) -> None:
    for _ in range(5000):
        notifier.watchdog()
    notifier.ready("x")
    assert set(drained(systemd)) == {b"WATCHDOG=1\n"}
    notifier.watchdog()
    assert systemd.recv(4096) == b"READY=1\nWATCHDOG=1\n"
    notifier.watchdog()
    assert systemd.recv(4096) == b"WATCHDOG=1\n"


def test_a_socket_made_anew_is_found_again(
    systemd: socket.socket, notifier: Notifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier.watchdog()
    systemd.close()
    notifier.watchdog()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "other"))
        other.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "other"))
        notifier.watchdog()
        assert other.recv(100) == b"WATCHDOG=1\n"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_says_so(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_interval(environ) == seconds
