"""What belongs to nobody in the configuration is named by the check, which changes nothing."""

from pathlib import Path

from bridge.cli.orphans import orphans
from bridge.clock import SystemClock
from bridge.config.load import load
from bridge.config.model import Config
from bridge.spool.settings import LaneSettings, SpoolSettings
from bridge.spool.spool import Spool

CONFIG = """
[bridge]
state_dir = "{state}"
[sources.boiler]
kind = "serial"
port = "/dev/ttyUSB0"
event = {{ type = "com.example.reading" }}
[sinks.cloud]
kind = "http"
url = "https://cloud.example.com/events"
"""


def config_at(path: Path) -> Config:
    file = path / "config.toml"
    file.write_text(CONFIG.format(state=path / "state"))
    return load(file, {})


def tree(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def test_removed_sinks_and_lanes_are_named_with_what_to_do(tmp_path: Path) -> None:
    config = config_at(tmp_path)
    (tmp_path / "state").mkdir()
    lanes = {"alarms": LaneSettings()}
    async with Spool(config.spool_dir, SpoolSettings(), SystemClock(), lanes=lanes) as spool:
        for lane in spool.lanes.values():
            lane.cursor("cloud")
            await lane.append([b"a"])
        spool.lane.cursor("old")
    before = tree(tmp_path)
    said = [str(problem) for problem in orphans(config)]
    assert len(said) == 2
    assert said[0].startswith("lanes.alarms: is not configured any more")
    assert "1 events wait for it in lane default" in said[1]
    assert "edge-bridge queue forget --sink old --lane default" in said[1]
    assert tree(tmp_path) == before


def test_without_a_spool_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert not list(orphans(config_at(tmp_path)))
