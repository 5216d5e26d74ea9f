"""``edge-bridge queue verify``."""

import argparse
import json
from typing import Any

from bridge.cli.reach import ask
from bridge.cli.sizes import size
from bridge.errors import CommandFailed


def command(args: argparse.Namespace) -> int:
    """Prints what is damaged; 1 when anything is."""
    findings: list[dict[str, Any]] = []

    def show(raw: bytes) -> None:
        finding = json.loads(raw)
        if args.json:
            findings.append(finding)
        else:
            print(line(finding))

    answer: dict[str, Any] = ask(args.config, "queue verify", {"lane": args.lane}, show)
    damaged = answer["damaged"]
    if args.json:
        print(json.dumps({"ok": not damaged, **answer, "findings": findings}, indent=2))
    else:
        places = "no damage" if not damaged else f"{damaged:,} damaged {'place' if damaged == 1 else 'places'}"
        print(f"{answer['records']:,} good records in {size(answer['bytes'])}, {places}, {answer['lost']:,} lost")
    return CommandFailed.exit_code if damaged else 0


def line(finding: dict[str, Any]) -> str:
    """One finding for people."""
    mark = "DAMAGED" if finding["damage"] else "unfinished"
    where = f"{finding['path']}, bytes {finding['position']:,} to {finding['end']:,}"
    count = finding["stop"] - finding["first"]
    if not count:
        return f"{mark}: {where}: {finding['what']}"
    which = (
        f"record {finding['first']:,}"
        if count == 1
        else f"records {finding['first']:,} to {finding['stop'] - 1:,}"
    )
    return f"{mark}: {where}: {which} of {finding['lane']}: {finding['what']}"
