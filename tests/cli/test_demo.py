"""The demonstration: it plays to its end, counts truly, and leaves nothing behind."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from bridge.cli.demo.device import SimulatedDevice
from bridge.cli.demo.receiver import Receiver, Tally
from bridge.cli.demo.screen import Facts, LiveScreen, PlainScreen, screen_for_this_terminal
from bridge.cli.demo.story import Outcome, Pace, perform, summary
from bridge.errors import BridgeError

QUICK = Pace(rate=50, calm=0.5, outage=0.8, pause=0.2, patience=20)


def event(identifier: str, number: int, celsius: float = 70.0) -> bytes:
    data = {"device": "boiler-1", "n": number, "celsius": celsius}
    return json.dumps({"source": "urn:demo/boiler", "id": identifier, "data": data}).encode()


def tally(*bodies: bytes) -> Tally:
    counted = Tally()
    for body in bodies:
        counted.add(body)
    return counted


def outcome(sent: int, counted: Tally, exit_code: int = 0) -> Outcome:
    return Outcome(sent, counted, largest_backlog=2, away=3.0, at_kill=1, exit_code=exit_code)


async def lines_from(port: int, count: int) -> list[bytes]:
    """The next lines of an open port, empty ones left out."""
    heard = b""
    while heard.count(b"\n") - heard.count(b"\n\n") < count + 1:
        try:
            heard += os.read(port, 4096)
        except BlockingIOError:
            await asyncio.sleep(0.005)
    return [line for line in heard.split(b"\n") if line][:count]


async def post(receiver: Receiver, body: bytes) -> bytes:
    host, _, port = receiver.url.removeprefix("http://").removesuffix("/events").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"POST /events HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        return await reader.readline()
    finally:
        writer.close()


# --- the device -------------------------------------------------------------------------------------------


async def test_the_device_holds_its_readings_while_nobody_has_the_port_open(tmp_path: Path) -> None:
    async with SimulatedDevice(tmp_path / "tty", rate=1000) as device:
        device.speak()
        assert not device.port_is_open
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert device.sent == 0

        port = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            numbers = [json.loads(line)["n"] for line in await lines_from(port, 5)]
        finally:
            os.close(port)
        assert numbers == [1, 2, 3, 4, 5]


async def test_a_holding_device_has_handed_over_whole_lines_and_counts_each(tmp_path: Path) -> None:
    async with SimulatedDevice(tmp_path / "tty", rate=1000) as device:
        port = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            device.speak()
            heard = await lines_from(port, 3)
            hold = asyncio.create_task(device.hold())
            rest = b""
            while not hold.done():
                await asyncio.sleep(0.005)
            with contextlib.suppress(BlockingIOError):
                rest = os.read(port, 4096)
        finally:
            os.close(port)
        assert rest.endswith(b"\n") or rest == b""
        assert device.sent >= len(heard)
        sent = device.sent
        await asyncio.sleep(0.02)
        assert device.sent == sent


# --- the receiver -----------------------------------------------------------------------------------------


async def test_the_receiver_counts_what_it_answered_and_what_it_did_not() -> None:
    async with Receiver() as receiver:
        assert b" 204 " in await post(receiver, event("a", 1))
        assert b" 400 " in await post(receiver, b"[]")
        await receiver.cut()
        with pytest.raises(ConnectionRefusedError):
            await post(receiver, event("b", 2))
        await receiver.restore()
        assert b" 204 " in await post(receiver, event("b", 2))
        assert (receiver.tally.readings, receiver.tally.repeated) == (2, 0)


async def test_a_cut_breaks_the_connections_that_are_open() -> None:
    async with Receiver() as receiver:
        port = int(receiver.url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /events HTTP/1.1\r\n")
        await writer.drain()
        await receiver.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_a_cut_leaves_a_request_taken_and_unanswered() -> None:
    async with Receiver() as receiver:
        cut = asyncio.create_task(receiver.cut())
        await asyncio.sleep(0)
        assert await post(receiver, event("a", 1)) == b""
        await cut
        assert receiver.tally.readings == 1


def test_the_same_event_twice_is_a_repetition_and_no_second_reading() -> None:
    counted = tally(event("a", 1), event("a", 1), event("b", 2))
    assert (counted.readings, counted.repeated, counted.renamed, counted.changed) == (2, 1, 0, 0)


def test_a_reading_under_a_second_id_and_an_event_with_other_bytes_are_told_apart() -> None:
    assert tally(event("a", 1), event("b", 1)).renamed == 1
    assert tally(event("a", 1), event("a", 1, celsius=71.0)).changed == 1


@pytest.mark.parametrize("body", [b"", b"1", b"{}", b'{"source": "s", "id": "i", "data": []}'])
def test_what_is_no_event_is_not_counted(body: bytes) -> None:
    counted = Tally()
    with pytest.raises(ValueError, match=r".*"):
        counted.add(body)
    assert counted.requests == 0


# --- what is claimed in the end ---------------------------------------------------------------------------


def test_all_that_was_sent_and_nothing_else_is_a_success() -> None:
    assert outcome(2, tally(event("a", 1), event("b", 2), event("b", 2))).good


@pytest.mark.parametrize(
    "bad",
    [
        outcome(2, tally(event("a", 1))),
        outcome(2, tally(event("a", 1), event("b", 2), event("c", 2))),
        outcome(1, tally(event("a", 1), event("a", 1, celsius=71.0))),
        outcome(1, tally(event("a", 1)), exit_code=70),
    ],
    ids=["missing", "renamed", "changed", "exit code"],
)
def test_anything_else_is_a_failure_and_says_so(bad: Outcome) -> None:
    assert not bad.good
    assert any("NOT AS PROMISED" in line for line in summary(bad))


# --- the screen -------------------------------------------------------------------------------------------


FACTS = Facts(1234, 1200, 34, 1166, "running", port_open=True, uplink=False)


def test_without_a_terminal_there_are_plain_lines_only() -> None:
    out = io.StringIO()
    screen = PlainScreen(out)
    screen.announce("Readings flow.")
    screen.show(FACTS)
    screen.close("done")
    assert "\x1b" not in out.getvalue()
    assert "sent 1,234  stored 1,200  waiting 34  received 1,166" in out.getvalue()
    assert out.getvalue().endswith("\ndone\n")


def test_the_live_view_wipes_exactly_what_it_drew() -> None:
    out = io.StringIO()
    screen = LiveScreen(out)
    screen.show(FACTS)
    drawn = out.getvalue().count("\n")
    screen.close("done")
    assert f"\x1b[{drawn}F\x1b[J" in out.getvalue()
    assert out.getvalue().endswith("\ndone\n")


def test_the_live_view_is_for_terminals_that_can_draw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert isinstance(screen_for_this_terminal(), LiveScreen)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(screen_for_this_terminal(), PlainScreen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert isinstance(screen_for_this_terminal(), PlainScreen)


# --- the whole --------------------------------------------------------------------------------------------


async def test_the_demonstration_plays_to_its_end_and_nothing_is_missing() -> None:
    out = io.StringIO()
    assert await perform(PlainScreen(out), QUICK) == 0, out.getvalue()
    assert "kill -9, while" in out.getvalue()


async def test_an_interrupted_demonstration_leaves_no_process_and_no_directory(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", "demo", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert demo.stdout is not None
    line = b"-"
    while line and b"Readings flow" not in line:
        line = await demo.stdout.readline()
    assert line, "the demonstration ended early"
    (home,) = tmp_path.iterdir()
    daemons = processes_naming(home)
    assert daemons
    demo.send_signal(signal.SIGINT)
    await demo.communicate()
    assert demo.returncode == 130
    assert not processes_naming(home)
    assert list(tmp_path.iterdir()) == []


async def test_a_daemon_that_cannot_start_ends_the_demonstration_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.cli.demo.daemon.CONFIG", "nonsense {home} {port} {url}")
    with pytest.raises(BridgeError, match="exit code 78"):
        await perform(PlainScreen(io.StringIO()), QUICK)


def processes_naming(path: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(path) in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
