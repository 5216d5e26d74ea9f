"""``edge-bridge dead-letters drop``."""

import argparse
import json
from typing import Any

from bridge.cli.progress import confirmed
from bridge.cli.reach import ask
from bridge.cli.sizes import counted


def command(args: argparse.Namespace) -> int:
    """Gives letters up, after a question; 1 when the answer was no."""
    wanted = {"offsets": args.offsets, "source": args.source, "sink": args.sink, "all": args.all}
    if not args.yes:
        told: dict[str, Any] = ask(args.config, "dead-letters drop", {**wanted, "only_tell": True}, lambda _: None)
        if not confirmed(f"Drop {counted(told['letters'], 'dead letter')} for good?", yes=False):
            return 1
    answer: dict[str, Any] = ask(args.config, "dead-letters drop", wanted, lambda _: None)
    print(json.dumps(answer, indent=2) if args.json else f"{counted(answer['letters'], 'dead letter')} dropped")
    return 0
