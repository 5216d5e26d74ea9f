"""The daemon starts only with a configuration whose events are legal; all else about it is in tests/live."""

import argparse
import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import check, run
from bridge.errors import ConfigError

CONFIG = """
[bridge]
state_dir = "{state}"
runtime_dir = "{state}"
[sources.boiler]
kind = "serial"
port = "/dev/serial/by-id/usb-boiler"
event = {{ type = "com.example.reading", subject = "{{device}}" }}
[sinks.cloud]
kind = "http"
url = "https://cloud.example.com/events"
"""


def arguments(tmp_path: Path, text: str) -> argparse.Namespace:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return argparse.Namespace(config=path, log_level=None)


@pytest.fixture(autouse=True)
def _hangup() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_that_comes_before_the_loop_listens_does_not_end_it(tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with pytest.raises(ConfigError):
        run.command(arguments(tmp_path, ""))
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_without_sources_and_sinks_it_refuses_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)sources: nothing is configured.*sinks: nothing is configured"):
        run.command(arguments(tmp_path, ""))


def test_events_that_the_sdk_reads_differently_are_refused_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(_: object) -> None:
        raise ValueError("the CloudEvents SDK reads another event")

    monkeypatch.setattr(check, "verify", differ)
    state = tmp_path / "state"
    with pytest.raises(ConfigError, match=r"sources\.boiler\.event: the CloudEvents SDK reads another event"):
        run.command(arguments(tmp_path, CONFIG.format(state=state)))
    assert not state.exists()


class Signs:
    """A notifier that remembers the signs of life, and a bridge whose disk hangs as long as the test says."""

    def __init__(self) -> None:
        self.alive = 0
        self.hangs = 0.0
        self.lines: list[str] = []

    def watchdog(self) -> None:
        self.alive += 1

    def status(self, text: str) -> None:
        self.lines.append(text)

    def stopping(self) -> None:
        pass

    def stalled(self) -> float:
        return self.hangs

    def summary(self) -> str:
        return "summary"


@pytest.mark.parametrize(
    ("hangs", "patience", "alive"), [(0, 60, True), (59, 60, True), (61, 60, False), (1e6, 0, True)]
)
async def test_a_disk_that_hangs_too_long_is_reported_to_the_watchdog_by_silence(
    monkeypatch: pytest.MonkeyPatch, hangs: float, patience: float, alive: bool
) -> None:
    monkeypatch.setattr(run, "STATUS_EVERY", 0.001)
    signs, stop = Signs(), asyncio.Event()
    signs.hangs = hangs
    speaking = asyncio.create_task(run._speak(signs, signs, stop, patience))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while len(signs.lines) < 5:
            await asyncio.sleep(0.001)
    speaking.cancel()
    await asyncio.wait([speaking])
    assert (signs.alive > 0) == alive
    # The status is told nevertheless.
    assert signs.lines[0] == "summary"
