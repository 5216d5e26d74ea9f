"""``edge-bridge dead-letters export``."""

import argparse
import sys
from typing import Any

from bridge.cli.output import output
from bridge.cli.reach import ask
from bridge.cli.sizes import counted


def command(args: argparse.Namespace) -> int:
    """Writes letters, one on each line."""
    wanted = {"offsets": args.offsets, "source": args.source, "sink": args.sink}
    with output(args.output) as stream:

        def show(raw: bytes) -> None:
            stream.write(raw + b"\n")

        answer: dict[str, Any] = ask(args.config, "dead-letters export", wanted, show)
    print(f"{counted(answer['exported'], 'dead letter')} exported", file=sys.stderr)
    return 0
