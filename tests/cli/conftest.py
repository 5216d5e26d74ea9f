"""A configuration whose bridge is stopped, and its queue filled."""

import asyncio
from pathlib import Path

import pytest

from bridge.assemble import assemble
from bridge.config.load import load
from tests.kit.desk import undecoded

TABLES = """
[gateway]
id = "gw1"
[bridge]
state_dir = "{state}"
runtime_dir = "{run}"
[lanes.alarms]
priority = 5
[sources.scale]
kind = "serial"
port = "/dev/none"
baudrate = 9600
event = {{ type = "com.example.reading" }}
[sinks.cloud]
kind = "http"
url = "http://127.0.0.1:9/x"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a configuration."""
    path = tmp_path / "config.toml"
    path.write_text(TABLES.format(state=tmp_path / "state", run=tmp_path / "run"), encoding="utf-8")
    return path


@pytest.fixture
def letters(config: Path) -> Path:
    """The same, with two dead letters of the source, the second of bytes that are no text."""

    async def bury() -> None:
        bridge = assemble(load(config))
        async with bridge.at_rest():
            await bridge.spool.dead_letters.append([undecoded(b"21.50 C"), undecoded(b"\x00\x01garbage\xff" * 3)])

    asyncio.run(bury())
    return config
