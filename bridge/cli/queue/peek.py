"""``edge-bridge queue peek``."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from bridge.cli.reach import ask
from bridge.cli.sizes import safe
from bridge.run.health import spell
from bridge.upkeep.lines import member, value


def command(args: argparse.Namespace) -> int:
    """Prints the next events, one below the other; with ``--json`` one line for each."""
    shown = 0

    def show(raw: bytes) -> None:
        nonlocal shown
        shown += 1
        if args.json:
            sys.stdout.buffer.write(raw + b"\n")
        else:
            print("\n".join(map(safe, lines(raw))))

    wanted = {"lane": args.lane, "sink": args.sink, "from": args.first, "count": args.count}
    ask(args.config, "queue peek", wanted, show)
    if not shown:
        print("Nothing waits there.", file=sys.stderr)
    return 0


def lines(raw: bytes) -> Iterator[str]:
    """One record for people, its event as it is written."""
    one: dict[str, Any] = value(raw)
    where = f"{one['lane']} {one['offset']:,}"
    if "lost" in one:
        yield f"{where}: {one['lost']:,} records are damaged on the disk"
        return
    if "error" in one:
        yield f"{where}: {one['error']}"
        return
    age = one["received"] if one["age"] is None else f"{spell(one['age'])} ago"
    only = f", only for {one['only']}" if one["only"] else ""
    yield f"{where}, {age}, from {one['by'] or 'a dead letter'}{only}"
    yield f"  {member(raw, 'event').decode()}"
