"""Who is measured: the daemon and the naive loop, started and stopped alike."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from tests.bench.stage import EXCHANGE, FarSide, Stage, spawn
from tests.kit.daemon import Daemon
from tests.kit.rabbitmq import PASSWORD, USER

CHAINS = ("amqp", "http-batch", "http")
"""Where a chain ends: AMQP with one message per event, HTTP with 100 events per POST, HTTP with one."""
BATCH, WINDOW = 100, 100


class Contestant(Protocol):
    """Something that carries readings of one topic from mosquitto to a far side."""

    name: str
    topic: str

    @property
    def pid(self) -> int:
        """The process to be measured."""
        ...

    async def enrol(self) -> None:
        """Makes its persistent session at mosquitto and leaves."""
        ...

    async def start(self) -> None:
        """Starts the process; returns when it is ready to connect."""
        ...

    async def stop(self) -> None:
        """Ends the process."""
        ...


def far_side(stage: Stage, chain: str) -> FarSide:
    """Where the chain ends."""
    return stage.queue if chain == "amqp" else stage.endpoint


def password_file(home: Path) -> Path:
    """The password of RabbitMQ's user in a file within ``home``, which is made."""
    home.mkdir(parents=True)
    secret = home / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    return secret


def source_table(mqtt_port: int, topic: str) -> str:
    """The daemon's MQTT source."""
    return f"""
[sources.boiler]
kind = "mqtt"
host = "127.0.0.1"
port = {mqtt_port}
topics = ["{topic}"]
event = {{ type = "com.example.boiler.reading.measured" }}
"""


def sink_table(chain: str, port: int, secret: Path) -> str:
    """The daemon's sink at the end of a chain."""
    if chain == "amqp":
        return f"""
[sinks.far]
kind = "amqp"
url = "amqp://127.0.0.1:{port}"
username = "{USER}"
password_file = "{secret}"
exchange = "{EXCHANGE}"
routing_key = "reading"
"""
    batch = f'mode = "batch"\nbatch_events = {BATCH}' if chain == "http-batch" else 'mode = "structured"'
    return f'\n[sinks.far]\nkind = "http"\nurl = "http://127.0.0.1:{port}/"\n{batch}\n'


class Bridge:
    """The daemon; every reading on disk and fsynced before its PUBACK."""

    def __init__(self, stage: Stage, chain: str, topic: str, home: Path, cpus: set[int] | None) -> None:
        self.name = "edge-bridge"
        self.topic = topic
        port = stage.rabbit.port if chain == "amqp" else stage.http_port
        tables = source_table(stage.mosquitto.port, topic) + sink_table(chain, port, password_file(home))
        self.daemon = Daemon(home, tables, cpus=cpus)

    @property
    def pid(self) -> int:
        return self.daemon.pid

    async def enrol(self) -> None:
        await self.daemon.start()
        await self.daemon.until(lambda report: report.sources[0].state == "up", "the source is up")
        await self.daemon.terminate()

    async def start(self) -> None:
        await self.daemon.start()

    async def stop(self) -> None:
        await self.daemon.terminate()


class NaiveLoop:
    """The loop of :mod:`tests.bench.naive`."""

    def __init__(self, stage: Stage, chain: str, topic: str, cpus: set[int] | None) -> None:
        self.name = "naive loop"
        self.topic = topic
        port = stage.rabbit.port if chain == "amqp" else stage.http_port
        self._command = [
            *(sys.executable, "-m", "tests.bench.naive", "amqp" if chain == "amqp" else "http"),
            *("--mqtt-port", str(stage.mosquitto.port), "--topic", topic, "--port", str(port)),
            *("--user", USER, "--password", PASSWORD, "--exchange", EXCHANGE, "--window", str(WINDOW)),
            *("--batch", str(BATCH if chain == "http-batch" else 1)),
        ]
        if cpus is not None:
            self._command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), *self._command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def enrol(self) -> None:
        enrolling = await asyncio.to_thread(spawn, [*self._command, "--enrol"])
        assert await asyncio.to_thread(enrolling.wait, 60) == 0

    async def start(self) -> None:
        self._process = await asyncio.to_thread(spawn, self._command)

    async def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
