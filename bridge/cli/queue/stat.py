"""``edge-bridge queue stat``."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from bridge.cli import wear
from bridge.cli.reach import ask
from bridge.cli.sizes import size
from bridge.report import WearReport
from bridge.run.health import events, spell


def command(args: argparse.Namespace) -> int:
    """Prints the depth of each lane for each sink, limits and losses; with ``--json`` as one document."""
    answer = ask(args.config, "queue stat", {}, lambda _: None)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for line in lines(answer):
        print(line)
    return 0


def lines(stat: dict[str, Any]) -> Iterator[str]:
    """The whole queue for people."""
    yield f"{stat['path']}{'' if stat['running'] else ' (no bridge is running)'}"
    for lane in stat["lanes"]:
        yield from _lane(lane)
    yield from _letters(stat["dead_letters"])
    if stat["wear"] is not None:
        yield wear.line(WearReport(**stat["wear"]), 0.0)
    if stat["writable"] is False:
        yield "THE DISK CANNOT BE WRITTEN: readings are not acknowledged until it can"
    if stat["last_error"]:
        yield f"latest error of the disk: {stat['last_error']}"


def _lane(lane: dict[str, Any]) -> Iterator[str]:
    priority = f", priority {lane['priority']}" if lane["priority"] else ""
    left = "" if lane["configured"] else ", not configured any more"
    yield f"lane {lane['name']}: {events(lane['records'])}{_oldest(lane)}, {_room(lane)}{priority}{left}"
    for sink in lane["sinks"]:
        waits = f"{sink['waiting']:,} wait{_oldest(sink)}" if sink["waiting"] else "nothing waits"
        forget = f"edge-bridge queue forget --sink {sink['name']} --lane {lane['name']}"
        yield f"  {sink['name']}: {waits}" + ("" if sink["configured"] else f"; NOT CONFIGURED, see: {forget}")
    yield from _losses(lane)


def _letters(letters: dict[str, Any]) -> Iterator[str]:
    yield f"dead letters: {letters['open']:,} open, {_room(letters)}"
    yield from _losses(letters)


def _room(lane: dict[str, Any]) -> str:
    told = size(lane["bytes"])
    if lane["max_bytes"]:
        told += f" of {size(lane['max_bytes'])} ({100 * lane['bytes'] / lane['max_bytes']:.0f} %)"
    if lane["max_age"]:
        told += f", kept for {spell(lane['max_age'])}"
    return told if lane["on_full"] is None else f"{told}, on_full {lane['on_full']}"


def _losses(lane: dict[str, Any]) -> Iterator[str]:
    if lane["full"]:
        yield f"  FULL: {lane['full']}"
    for reason, count in (lane["lost"] or {}).items():
        yield f"  lost {count:,} since the start: {reason}"
    if lane["damaged"]:
        yield f"  lost {lane['damaged']:,} since the start: damaged on the disk"


def _oldest(what: dict[str, Any]) -> str:
    return "" if what["oldest"] is None else f", oldest {spell(what['oldest'])}"
