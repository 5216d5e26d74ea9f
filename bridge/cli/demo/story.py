"""What happens in the demonstration, and what it may claim in the end."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.cli.demo.daemon import Daemon, DemoFailed, Ports
from bridge.cli.demo.device import SimulatedDevice
from bridge.cli.demo.receiver import Receiver, Tally
from bridge.cli.demo.screen import Facts, Screen
from bridge.errors import EXIT_BUG, BridgeError


class Interrupted(BridgeError):
    """Somebody stopped the demonstration; nothing of it is left running."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how long.

    Attributes:
        rate: readings per second of the device.
        calm: seconds of readings before the outage.
        outage: seconds of readings without an uplink, before the kill and once more after it.
        pause: seconds for the eye, after the kill and after the backlog has drained.
        patience: seconds that anything may take before the demonstration gives up.
    """

    rate: float = 100.0
    calm: float = 5.0
    outage: float = 6.0
    pause: float = 1.5
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was counted at both ends when all was over.

    Attributes:
        sent: readings that the device handed over.
        tally: what arrived.
        largest_backlog: the most events that waited on disk at one look.
        away: seconds without an uplink.
        at_kill: events that waited on disk when the daemon was killed.
        exit_code: the daemon's own at its orderly stop.
    """

    sent: int
    tally: Tally
    largest_backlog: int
    away: float
    at_kill: int
    exit_code: int

    @property
    def missing(self) -> int:
        """Readings that were sent and did not arrive."""
        return self.sent - self.tally.readings

    @property
    def good(self) -> bool:
        """Nothing is missing, and every event kept its id and its bytes."""
        return self.missing == 0 and not self.tally.renamed and not self.tally.changed and self.exit_code == 0


class Stage:
    """Everybody in the story, and the eye that follows them."""

    def __init__(self, device: SimulatedDevice, daemon: Daemon, receiver: Receiver, screen: Screen) -> None:
        self.device = device
        self.daemon = daemon
        self.receiver = receiver
        self._screen = screen
        self._looked = asyncio.Condition()
        self._stored_before = 0
        self.daemon_is = "starting"
        self.largest_backlog = 0
        self.port_ready = False
        self.facts = Facts(0, 0, None, 0, self.daemon_is, port_open=False, uplink=True)

    async def watch(self) -> None:
        """Looks at everybody ten times a second."""
        while True:
            await self.look()
            await asyncio.sleep(0.1)

    async def look(self) -> None:
        """Takes the figures of this instant and shows them."""
        report = await self.daemon.status()
        stored, waiting, self.port_ready = self.facts.stored, None, False
        if report is not None and report.sources and report.sinks:
            (source,), (sink,) = report.sources, report.sinks
            stored, waiting = self._stored_before + source.stored, sink.waiting
            self.port_ready = source.state == "up" and self.device.port_is_open
            self.largest_backlog = max(self.largest_backlog, waiting)
        self.facts = Facts(
            sent=self.device.sent,
            stored=stored,
            waiting=waiting,
            received=self.receiver.tally.readings,
            daemon=self.daemon_is,
            port_open=self.device.port_is_open,
            uplink=self.receiver.reachable,
        )
        self._screen.show(self.facts)
        async with self._looked:
            self._looked.notify_all()

    async def until(self, reached: Callable[[], bool], patience: float) -> bool:
        """Waits until a look shows ``reached``; False if that took more than ``patience`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience), self._looked:
                await self._looked.wait_for(reached)
                return True
        return False

    async def start(self, patience: float) -> None:
        """Starts the daemon, and lets the device speak as soon as its port is open."""
        self.daemon_is = "starting"
        await self.daemon.start()
        self.daemon_is = "running"
        if not await self.until(lambda: self.port_ready, patience):
            raise DemoFailed(f"the daemon did not open the serial port within {patience:g} s")
        self.device.speak()

    async def settle(self, patience: float) -> None:
        """Lets the device hold its readings; returns when the daemon reports all that it sent as stored."""
        await self.device.hold()
        if not await self.until(lambda: self.facts.stored >= self.device.sent, patience):
            unstored = self.device.sent - self.facts.stored
            raise DemoFailed(f"{unstored:,} of the readings sent were not stored within {patience:g} s")

    async def kill(self) -> None:
        """Kills the daemon; its counters begin anew with the next one."""
        self._stored_before = self.facts.stored
        self.daemon_is = "killed"
        await self.daemon.kill()


async def perform(screen: Screen, pace: Pace) -> int:
    """Plays the story in a directory of its own and tells how it ended; returns the exit code.

    Whatever happens, nothing is left running and the directory is removed.

    Raises:
        DemoFailed: the story could not be played.
        Interrupted: SIGINT, SIGTERM or SIGHUP came.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        async with _stage(screen, pace) as stage:
            outcome = await _play(stage, screen, pace, stop)
    except BridgeError:
        screen.close()
        raise
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    screen.close(*summary(outcome))
    return 0 if outcome.good else EXIT_BUG


async def _play(stage: Stage, screen: Screen, pace: Pace, stop: asyncio.Event) -> Outcome:
    story = asyncio.create_task(_story(stage, screen, pace), name="story")
    # The watcher ends only by raising: the daemon died unasked.
    watcher = asyncio.create_task(stage.watch(), name="watcher")
    stopper = asyncio.create_task(stop.wait(), name="stopper")
    tasks = {story, watcher, stopper}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if watcher.done():
            watcher.result()
        if stopper.done():
            raise Interrupted("interrupted; everything is stopped")
        return story.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextlib.asynccontextmanager
async def _stage(screen: Screen, pace: Pace) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="edge-bridge-demo-") as directory:
        home = Path(directory)
        serial = home / "ttyDEMO0"
        async with (
            SimulatedDevice(serial, pace.rate) as device,
            Receiver() as receiver,
            Daemon(home, Ports(serial, receiver.url)) as daemon,
        ):
            yield Stage(device, daemon, receiver, screen)


async def _story(stage: Stage, screen: Screen, pace: Pace) -> Outcome:
    device, daemon, receiver = stage.device, stage.daemon, stage.receiver
    screen.announce("The daemon starts, between a simulated serial device and an HTTP receiver.")
    await stage.start(pace.patience)
    screen.announce("Readings flow.")
    await asyncio.sleep(pace.calm)

    screen.announce("The uplink is cut, between a request and its answer. The daemon goes on storing.")
    cut_at = time.monotonic()
    await receiver.cut()
    await asyncio.sleep(pace.outage)

    screen.announce("The device holds its readings, until the daemon reports all that it sent as stored.")
    await stage.settle(pace.patience)
    at_kill = stage.facts.waiting or 0
    screen.announce(f"kill -9, while {at_kill:,} readings wait on disk.")
    await stage.kill()
    await asyncio.sleep(pace.pause)

    screen.announce("The daemon starts again, still without an uplink. The device goes on.")
    await stage.start(pace.patience)
    await asyncio.sleep(pace.outage / 2)

    screen.announce("The uplink is back. The backlog drains while new readings come in.")
    away = time.monotonic() - cut_at
    await receiver.restore()
    await stage.until(lambda: stage.facts.waiting is not None and stage.facts.waiting < pace.rate, pace.patience)
    await asyncio.sleep(pace.pause)

    screen.announce("The device stops. What is left is delivered, and the daemon is stopped in order.")
    await stage.settle(pace.patience)
    if not await stage.until(lambda: stage.facts.waiting == 0, pace.patience):
        screen.announce(f"After {pace.patience:g} s there are still events waiting.")
    exit_code = await daemon.stop()
    return Outcome(device.sent, receiver.tally, stage.largest_backlog, away, at_kill, exit_code)


def summary(outcome: Outcome) -> Sequence[str]:
    """The outcome in words and figures, counted at the device and at the receiver."""
    tally = outcome.tally
    rows = [
        ("sent by the device", outcome.sent, ""),
        ("received", tally.readings, ""),
        ("missing", outcome.missing, ""),
        ("received again", tally.repeated, "same source, id and bytes: easily dropped"),
        ("changed on a retry", tally.changed + tally.renamed, ""),
        ("largest backlog", outcome.largest_backlog, "events on disk"),
    ]
    lines = [f"   {name:<20}{count:>8,}   {note}".rstrip() for name, count, note in rows]
    if outcome.exit_code:
        lines.append(f"   The daemon ended with exit code {outcome.exit_code} when it was asked to stop.")
    if outcome.good:
        lines += [
            "",
            "   Every reading that the device handed over arrived. The uplink was away for",
            f"   {outcome.away:.0f} s, and kill -9 came while {outcome.at_kill:,} readings waited on disk.",
        ]
    else:
        lines += ["", "   THIS IS NOT AS PROMISED. Please report it, with the lines above."]
    lines += [
        "",
        "   Not shown: what a device says while its port is closed. A serial line cannot",
        "   repeat it; this device has flow control and held its readings meanwhile.",
        "   A kill -9 is not a power cut; `make test-crash` plays thousands of those.",
    ]
    return lines
