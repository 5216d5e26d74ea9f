"""The real daemon as a child process, with a configuration of its own."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import TypeAdapter, ValidationError

from bridge.errors import BridgeError
from bridge.host.control import NAME, NotRunning, ask
from bridge.report import BridgeReport

_REPORT = TypeAdapter(BridgeReport)

CONFIG = """\
# Written by `edge-bridge demo`.
[gateway]
id = "demo"

[bridge]
state_dir = "{home}/state"
runtime_dir = "{home}/run"
drain_timeout = "5s"

[sources.boiler]
kind = "serial"
port = "{port}"
baudrate = 115200
event = {{ type = "com.example.boiler.reading.measured", subject = "{{device}}" }}

[sinks.cloud]
kind = "http"
url = "{url}"
"""

SYSTEMD = {
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID",
    "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY",
}  # fmt: skip
"""What a service manager may have told this process is not meant for the child."""


class DemoFailed(BridgeError):
    """The demonstration could not be played to its end."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the daemon stands between: the path of a serial port and the URL of a receiver."""

    serial: Path
    url: str


class Daemon:
    """``edge-bridge run`` in a process of its own, below the directory ``home``."""

    def __init__(self, home: Path, ports: Ports) -> None:
        self._home = home
        self._ports = ports
        self._process: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self._home / "config.toml"

    @property
    def journal(self) -> Path:
        """What the daemon logged."""
        return self._home / "journal.log"

    async def __aenter__(self) -> Self:
        """Writes the configuration; the daemon is started by :meth:`start`."""
        text = CONFIG.format(home=self._home, port=self._ports.serial, url=self._ports.url)
        await asyncio.to_thread(self.config.write_text, text, encoding="utf-8")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the daemon, if it still runs."""
        await self.kill()

    async def start(self) -> None:
        """Starts the daemon and returns when it answers.

        Raises:
            DemoFailed: it ended, or did not answer within twenty seconds.
        """
        log = await asyncio.to_thread(self.journal.open, "ab")
        with contextlib.closing(log):
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "run", "--config", str(self.config),
                env={name: value for name, value in os.environ.items() if name not in SYSTEMD},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C on the terminal is for the demonstration, which then stops the daemon.
                start_new_session=True,
            )  # fmt: skip
        try:
            async with asyncio.timeout(20):
                while await self.status() is None:  # noqa: ASYNC110 - another process has no event to wait for
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise DemoFailed(f"the daemon does not answer{self._last_words()}") from error

    async def status(self) -> BridgeReport | None:
        """What ``edge-bridge status`` would show, or None while nobody answers.

        Raises:
            DemoFailed: the daemon ended without being asked.
        """
        self._raise_if_dead()
        try:
            return _REPORT.validate_python(await asyncio.to_thread(ask, self._home / "run" / NAME, "status"))
        except (NotRunning, ValidationError):
            return None

    async def kill(self) -> None:
        """``kill -9``: the process gets no chance to say goodbye to anything."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def stop(self) -> int:
        """SIGTERM, as systemd would; returns the exit code."""
        if self._process is None:
            raise DemoFailed("the daemon is not running")
        process, self._process = self._process, None
        process.terminate()
        try:
            async with asyncio.timeout(15):
                return await process.wait()
        except TimeoutError:
            return -1
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _raise_if_dead(self) -> None:
        if self._process is not None and self._process.returncode is not None:
            raise DemoFailed(f"the daemon ended with exit code {self._process.returncode}{self._last_words()}")

    def _last_words(self) -> str:
        lines: Sequence[str] = ()
        with contextlib.suppress(OSError):
            lines = self.journal.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "; its last lines:\n" + "\n".join(lines) if lines else ""
