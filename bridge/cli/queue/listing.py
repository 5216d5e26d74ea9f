"""``edge-bridge queue list``."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from bridge.cli.reach import ask
from bridge.cli.sizes import size
from bridge.run.health import spell


def command(args: argparse.Namespace) -> int:
    """Prints every lane with its segments; with ``--json`` one document, the segments within their lane."""
    segments: dict[str, list[Any]] = {}

    def show(raw: bytes) -> None:
        segment = json.loads(raw)
        segments.setdefault(segment.pop("lane"), []).append(segment)

    answer: dict[str, Any] = ask(args.config, "queue list", {"lane": args.lane}, show)
    for lane in answer["lanes"]:
        lane["segments"] = segments.get(lane["name"], [])
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for lane in answer["lanes"]:
        for line in lines(lane):
            print(line)
    return 0


def lines(lane: dict[str, Any]) -> Iterator[str]:
    """One lane for people."""
    segments = lane["segments"]
    left = "" if lane["configured"] else ", not configured any more"
    held = f"records {lane['first']:,} to {lane['stop'] - 1:,}" if lane["records"] else "no records"
    yield f"{lane['name']}: {held}, {size(lane['bytes'])} in {_count(len(segments))}{left}"
    for segment in segments:
        age = "age not known" if segment["age"] is None else f"begun {spell(segment['age'])} ago"
        records = f"{segment['first']:,} to {segment['stop'] - 1:,}" if segment["records"] else "no records"
        yield f"  {segment['file']}  {records}, {size(segment['bytes'])}, {age}"


def _count(segments: int) -> str:
    return "1 segment" if segments == 1 else f"{segments:,} segments"
