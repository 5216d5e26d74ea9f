"""A running bridge under strace between a broker and a receiver that do what a workload tells them."""

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from bridge.host import control
from bridge.report import BridgeReport
from tests.crash import strace
from tests.crash.recording import Recorder
from tests.crash.trace import Promise, Trace
from tests.crash.wire import Said, Wire
from tests.kit.fake_mqtt import CONNACK, CONNECT, PUBACK, FakeBroker, packet, publish
from tests.kit.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]
SINK = "web"
MAX_RECORD = 64 * 1024
_REPORT = TypeAdapter(BridgeReport)


@dataclass
class SessionBroker(FakeBroker):
    """Keeps one session of MQTT 3.1.1: what was not acknowledged is delivered again, in the old order."""

    version5: bool = False
    waiting: dict[int, bytes] = field(default_factory=dict)
    met: bool = False
    _number: int = 0
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, frames: Iterable[bytes], *, window: int = 40) -> None:
        """Sends readings, ``window`` at a time at most; returns when all are acknowledged."""
        for frame in frames:
            await self._until(window)
            self.send(frame)
        await self._until(1)

    def send(self, frame: bytes) -> None:
        """Sends one reading, acknowledged or not."""
        self._number = self._number % 65535 + 1
        self.waiting[self._number] = frame
        if not self.links[-1].writer.is_closing():
            self.links[-1].send(publish("plant/boiler", frame, self._number))

    async def _until(self, fewer: int) -> None:
        async with asyncio.timeout(60):
            while len(self.waiting) >= fewer:
                self._room.clear()
                await self._room.wait()

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == PUBACK:
            self.waiting.pop(int.from_bytes(body[:2], "big"), None)
            self._room.set()
            return b""
        if kind == CONNECT:
            again = [publish("plant/boiler", frame, number, dup=True) for number, frame in self.waiting.items()]
            present, self.met = self.met, True
            return packet(CONNACK, bytes([present, 0])) + b"".join(again)
        return super()._answer(kind, body)


class Stage:
    """The bridge, its peers, and the record of what it does, run after run over the same directory.

    Attributes:
        readings: how many were made.
        cursor_interval: the key of that name.
        spool: further keys of the table ``[spool]``.
        sink: further keys of the sink's table.
        lines: the journals of the runs that have ended.
    """

    def __init__(self, work: Path, broker: SessionBroker, receiver: Receiver, seed: int) -> None:
        self.broker = broker
        self.receiver = receiver
        self.rng = random.Random(seed)
        self.readings = 0
        self.wire = Wire(broker.port, receiver.port)
        self.lines: list[str] = []
        self._work = work
        self._top = work / "state"
        self._top.mkdir()
        self._runtime = Path(tempfile.mkdtemp(dir=work))
        self.recorder = Recorder(self._top, self.wire.take)
        self._runs = 0
        self._process: asyncio.subprocess.Process | None = None
        self.cursor_interval = 0.05
        self.spool = ""
        self.sink = 'mode = "structured"'

    def frames(self, count: int, *, garbage: float = 0.0, small: bool = False) -> list[bytes]:
        """The next readings, each with its own number; some can never be decoded."""
        made = []
        for _ in range(count):
            self.readings += 1
            size = self.rng.choice((0, 20, 60) if small else (10, 200, 200, 900, 900, 4000))
            if self.rng.random() < garbage:
                made.append(b"GARBAGE %d " % self.readings + self.rng.randbytes(size))
            else:
                text = self.rng.randbytes(size // 2).hex()
                made.append(b'{"n":%d,"text":"%s"}' % (self.readings, text.encode()))
        return made

    async def start(self, inject: Sequence[str] = ()) -> None:
        """Starts the bridge; returns when it has connected to the broker, or has ended already."""
        config = self._work / "edge-bridge.toml"
        config.write_text(self._config(), encoding="utf-8")
        links = len(self.broker.links)
        self._runs += 1
        program = [sys.executable, "-m", "bridge", "run", "--config", str(config)]
        calls = f"{strace.FILE_CALLS},{strace.SOCKET_CALLS}"
        with self._journal.open("wb") as journal:
            self._process = await asyncio.create_subprocess_exec(
                *strace.command(self._log, calls, program, inject),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=journal,
            )
        linked = asyncio.create_task(self.broker.link(links, within=60))
        ended = asyncio.create_task(self._process.wait())
        await asyncio.wait([linked, ended], return_when=asyncio.FIRST_COMPLETED)
        for task in (linked, ended):
            task.cancel()
        await asyncio.wait([linked, ended])

    async def stop(self, *, tidy: bool = True) -> None:
        """SIGTERM; ``tidy`` if everything that the sink confirmed is to be written down by then."""
        self._signal(signal.SIGTERM)
        await self.ended()
        if tidy:
            self.wire.promises.append(Promise(self.recorder.now, "STOPPED 0"))

    async def kill(self) -> None:
        """SIGKILL, at whatever line it is, if it has not ended by itself."""
        if self.running:
            self._signal(signal.SIGKILL)
        await self.ended()

    @property
    def running(self) -> bool:
        """Whether the bridge lives."""
        return self._process is not None and self._process.returncode is None

    def finish(self) -> Trace:
        """The record of all runs.

        Raises:
            AssertionError: it is not faithful, or what was heard is not what the peers have seen.
        """
        trace = self.recorder.finish()
        self.wire.promises.sort(key=lambda promise: promise.at)
        trace.promises = self.wire.promises
        heard = Said.parse(trace.promises)
        assert heard.got == heard.acked == set(self.wire.frames)
        assert len(heard.taken) == len(self.receiver.accepted) > 0
        return trace

    async def ended(self) -> None:
        """Waits until it has ended, and takes its log."""
        assert self._process is not None
        async with asyncio.timeout(60):
            await self._process.wait()
        self.wire.new_process()
        await asyncio.to_thread(self.recorder.take, self._log)
        self.lines += self._journal.read_text("utf-8", "replace").splitlines()

    async def status(self) -> BridgeReport:
        """What the bridge says about itself."""
        socket = self._runtime / control.NAME
        return _REPORT.validate_python(await asyncio.to_thread(control.ask, socket, "status"))

    async def until_taken(self, count: int) -> None:
        """Returns when the receiver has taken that many events in all."""
        async with asyncio.timeout(60):
            while len(self.receiver.accepted) < count:
                await asyncio.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self._work / f"strace-{self._runs}.log"

    @property
    def _journal(self) -> Path:
        return self._work / f"journal-{self._runs}"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        tracer = self._process.pid
        children = Path(f"/proc/{tracer}/task/{tracer}/children").read_text(encoding="ascii").split()
        os.kill(int(children[0]), number)

    def _config(self) -> str:
        return (
            f'[gateway]\nid = "gw1"\n\n[bridge]\nstate_dir = "{self._top}"\nruntime_dir = "{self._runtime}"\n'
            f"drain_timeout = 20\n\n[spool]\nsegment_bytes = 65536\nmax_record = {MAX_RECORD}\n"
            f"cursor_interval = {self.cursor_interval}\n{self.spool}\n\n"
            f'[sources.boiler]\nkind = "mqtt"\nprotocol = "3.1.1"\nhost = "127.0.0.1"\nport = {self.broker.port}\n'
            'topics = ["plant/boiler"]\nevent = { type = "com.example.boiler.reading.measured" }\n\n'
            f'[sinks.{SINK}]\nkind = "http"\nurl = "http://127.0.0.1:{self.receiver.port}/events"\n{self.sink}\n'
        )


@asynccontextmanager
async def stage(work: Path, seed: int) -> AsyncIterator[Stage]:
    """A stage with a broker and a receiver that listen; the bridge does not run yet."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver())
        broker = SessionBroker()
        server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
        stack.callback(server.close)
        broker.port = server.sockets[0].getsockname()[1]
        yield Stage(work, broker, receiver, seed)
