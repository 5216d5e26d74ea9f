"""``edge-bridge queue export``."""

import argparse
import sys
from typing import Any

from bridge.cli.output import output
from bridge.cli.reach import ask
from bridge.errors import CommandFailed
from bridge.run.health import events


def command(args: argparse.Namespace) -> int:
    """Writes events, one on each line; 1 when some could not be read."""
    wanted = {"lane": args.lane, "sink": args.sink, "from": args.first}
    with output(args.output) as stream:
        answer: dict[str, Any] = ask(args.config, "queue export", wanted, lambda raw: _line(stream.write, raw))
    print(f"{events(answer['exported'])} exported", file=sys.stderr)
    missing = answer["unreadable"] + answer["lost"]
    if missing:
        print(f"{missing:,} could not be read; see: edge-bridge queue verify", file=sys.stderr)
    return CommandFailed.exit_code if missing else 0


def _line(write: Any, raw: bytes) -> None:
    write(raw + b"\n")
