"""A real mosquitto on a free loopback port, with a configuration and a directory of its own."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.ports import free_port

PROGRAM = "/usr/sbin/mosquitto"


@dataclass
class Mosquitto:
    """One broker; it can be stopped and started again with the same state.

    Attributes:
        folder: its own directory; must exist.
        extra: further lines of the configuration, for example ``max_inflight_messages 500``.
        persistence: whether sessions and messages survive a restart.
        port: where it listens.
    """

    folder: Path
    extra: Sequence[str] = ()
    persistence: bool = True
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    async def start(self) -> None:
        """Starts it and returns when it accepts connections."""
        config = self.folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"persistence {'true' if self.persistence else 'false'}",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            "max_queued_messages 0",
            f"log_dest file {self.folder}/mosquitto.log",
            "log_type all",
            "per_listener_settings false",
        ]
        if not any(line.startswith(("allow_anonymous", "password_file")) for line in self.extra):
            lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            lines.append("user root")
        config.write_text("\n".join([*lines, *self.extra]) + "\n", encoding="utf-8")
        self._process = await asyncio.to_thread(
            subprocess.Popen,
            [PROGRAM, "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(20):
            while not await self._listening():
                if self._process.poll() is not None:
                    msg = f"mosquitto ended with {self._process.returncode}; its log:\n{self.log()}"
                    raise RuntimeError(msg)
                await asyncio.sleep(0.02)

    async def stop(self, *, kill: bool = False) -> None:
        """Stops it: in good order, or with SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            await asyncio.wait_for(asyncio.to_thread(process.wait), 10)
        except TimeoutError:
            process.kill()
            await asyncio.to_thread(process.wait)

    def log(self) -> str:
        """What it logged so far."""
        try:
            return (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    async def _listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True


@contextlib.asynccontextmanager
async def mosquitto(
    folder: Path, extra: Sequence[str] = (), *, persistence: bool = True
) -> AsyncIterator[Mosquitto]:
    """A broker that runs while the block does. ``extra`` lines belong to its one listener."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    broker = Mosquitto(folder, extra, persistence)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()
