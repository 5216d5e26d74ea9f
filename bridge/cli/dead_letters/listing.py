"""``edge-bridge dead-letters list``."""

import argparse
import json
import sys
from typing import Any

from bridge.cli.reach import ask
from bridge.cli.sizes import counted, safe, size


def command(args: argparse.Namespace) -> int:
    """Prints one line for each letter."""

    def show(raw: bytes) -> None:
        if args.json:
            sys.stdout.buffer.write(raw + b"\n")
        else:
            print(safe(line(json.loads(raw))))

    wanted = {"source": args.source, "sink": args.sink, "count": args.count}
    answer: dict[str, Any] = ask(args.config, "dead-letters list", wanted, show)
    if not args.json:
        print(f"{answer['shown']:,} of {counted(answer['open'], 'dead letter')}", file=sys.stderr)
    return 0


def line(letter: dict[str, Any]) -> str:
    """One letter for people."""
    if "error" in letter:
        return f"{letter['offset']:>6}  cannot be read: {letter['error']}"
    what = f"event {letter['id']}" if letter["id"] else f"frame of {size(letter['bytes'])}"
    return f"{letter['offset']:>6}  {letter['last'][:19]}Z  {letter['component']}, {what}: {letter['reason']}"
