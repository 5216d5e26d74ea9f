"""The real daemon as a child process: started, watched, killed and started again."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter

from bridge.host.control import NAME, NotRunning, ask
from bridge.report import BridgeReport, SinkReport, SourceReport

ROOT = Path(__file__).resolve().parents[2]
_REPORT = TypeAdapter(BridgeReport)
_POLL = 0.05


class Daemon:
    """One edge-bridge with its own configuration, state and home; whatever it started is gone on leaving.

    It may be started, stopped and killed any number of times; configuration, spool and the lines of its
    journal stay the same.

    Args:
        home: an empty directory for everything the daemon keeps.
        tables: the TOML tables of sources and sinks (and of ``[spool]``).
        bridge: further keys of the table ``[bridge]``.
        gateway: further keys of the table ``[gateway]``.
        environment: further environment variables of the child.
        cpus: the CPUs that the child may use; None for all.
    """

    def __init__(
        self,
        home: Path,
        tables: str,
        *,
        bridge: str = "",
        gateway: str = "",
        environment: dict[str, str] | None = None,
        cpus: set[int] | None = None,
    ) -> None:
        self.home = home
        self.state_dir = home / "state"
        self.config = home / "edge-bridge.toml"
        self.lines: list[str] = []
        self._tables = tables
        self._bridge = bridge
        self._gateway = gateway
        self._environment = environment or {}
        self._cpus = cpus
        self._grown = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Writes the configuration; nothing runs yet."""
        # A socket's path has room for 108 bytes; a test's own directory may be too deep for that.
        self._runtime = Path(tempfile.mkdtemp(prefix="eb-"))
        self.home.mkdir(parents=True, exist_ok=True)
        self.configure(self._tables)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kills what still runs; the lines of a failed test go to its captured output."""
        if self.running:
            await self.kill9()
        shutil.rmtree(self._runtime, ignore_errors=True)
        if error is not None:
            print(f"--- journal of {self.home.name}", *self.lines[-200:], sep="\n")

    def configure(self, tables: str) -> None:
        """Replaces the tables of sources and sinks, for the next start."""
        self._tables = tables
        self.config.write_text(
            f'[gateway]\nid = "gw1"\n{self._gateway}\n\n'
            f'[bridge]\nstate_dir = "{self.state_dir}"\nruntime_dir = "{self._runtime}"\n{self._bridge}\n\n'
            f"{tables}\n",
            encoding="utf-8",
        )

    @property
    def running(self) -> bool:
        """Whether the child lives."""
        return self._process is not None and self._process.returncode is None

    @property
    def control_socket(self) -> Path:
        """Where it answers commands."""
        return self._runtime / NAME

    @property
    def pid(self) -> int:
        """Process id of the latest start."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, wait: bool = True, within: float = 30.0) -> None:
        """Starts the daemon and waits until it says READY=1; with ``wait=False`` only starts it.

        Raises:
            AssertionError: it ended, or was not ready in time; with its last lines.
        """
        assert not self.running
        notify = self._runtime / "notify"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(notify))
            told.setblocking(False)
            cpus = self._cpus
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bridge", "run", "--config", str(self.config)),
                cwd=ROOT,
                env=self._child_environment(notify),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=1 << 20,
                preexec_fn=None if cpus is None else lambda: os.sched_setaffinity(0, cpus),
            )
            self._listener = asyncio.create_task(self._listen(self._process))
            self._listener.add_done_callback(lambda _: self._grown.set())
            if wait:
                await self._until_ready(told, within)

    async def status(self) -> BridgeReport:
        """What the daemon says about itself.

        Raises:
            NotRunning: it does not answer.
        """
        return _REPORT.validate_python(await asyncio.to_thread(ask, self.control_socket, "status"))

    async def source(self, name: str) -> SourceReport:
        """Its report on one source."""
        return next(report for report in (await self.status()).sources if report.name == name)

    async def sink(self, name: str) -> SinkReport:
        """Its report on one sink."""
        return next(report for report in (await self.status()).sinks if report.name == name)

    async def until(
        self, holds: Callable[[BridgeReport], bool], what: str, *, within: float = 60.0
    ) -> BridgeReport:
        """Polls the status until ``holds``; ``what`` is said when it never does."""
        report: BridgeReport | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while True:
                    assert self.running, f"the daemon has ended before: {what}"
                    # Within the first moments after READY the socket may not listen yet.
                    with contextlib.suppress(NotRunning):
                        report = await self.status()
                        if holds(report):
                            return report
                    await asyncio.sleep(_POLL)
        raise AssertionError(f"never: {what}; the last status was {report}")

    async def wait_for_log(self, pattern: str, *, since: int = 0, within: float = 30.0) -> str:
        """The first line from number ``since`` on that holds ``pattern``."""
        wanted = re.compile(pattern)
        seen = since
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while True:
                    while seen < len(self.lines):
                        if wanted.search(self.lines[seen]):
                            return self.lines[seen]
                        seen += 1
                    if self._listener is None or self._listener.done():
                        break
                    self._grown.clear()
                    await self._grown.wait()
        raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(self.lines[since:][-60:]))

    def logged(self, pattern: str, *, since: int = 0) -> list[str]:
        """Every line so far that holds ``pattern``."""
        wanted = re.compile(pattern)
        return [line for line in self.lines[since:] if wanted.search(line)]

    async def kill9(self) -> None:
        """Ends it at whatever line it is."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.ended()

    async def terminate(self, within: float = 30.0) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await self.ended(within)

    async def ended(self, within: float = 30.0) -> int:
        """Waits until it has ended by itself and its last line was read; returns the exit code."""
        assert self._process is not None
        assert self._listener is not None
        async with asyncio.timeout(within):
            code = await self._process.wait()
            await self._listener
        return code

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return self._memory("VmRSS")

    def peak_rss_bytes(self) -> int:
        """The most resident memory since it started."""
        return self._memory("VmHWM")

    def cpu_seconds(self) -> float:
        """CPU time used since it started, all threads, user and system; in steps of 10 ms."""
        return cpu_seconds(self.pid)

    def _memory(self, key: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split(f"{key}:")[1].split()[0]) * 1024

    def _child_environment(self, notify: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state-home"),
            "XDG_RUNTIME_DIR": str(self._runtime),
            "NOTIFY_SOCKET": str(notify),
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
            self._grown.set()

    async def _until_ready(self, told: socket.socket, within: float) -> None:
        assert self._process is not None
        ready = asyncio.create_task(_ready(told))
        ended = asyncio.create_task(self._process.wait())
        await asyncio.wait([ready, ended], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        missed = not ready.done()
        await _cancel([ready, ended])
        if missed:
            state = f"ended with {self._process.returncode}" if ended.done() else "is not ready"
            raise AssertionError(f"the daemon {state}:\n" + "\n".join(self.lines[-60:]))


def all_up(report: BridgeReport) -> bool:
    """Whether every peer is there."""
    parts: tuple[SourceReport | SinkReport, ...] = (*report.sources, *report.sinks)
    return all(part.state == "up" for part in parts)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, all threads, user and system; in steps of 10 ms."""
    # proc(5): utime and stime are fields 14 and 15; the name in field 2 may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _ready(told: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while b"READY=1" not in (await loop.sock_recv(told, 65536)).split(b"\n"):
        pass


async def _cancel(tasks: Iterable["asyncio.Task[None] | asyncio.Task[int]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
