"""``edge-bridge sample``, ``reference`` and ``schema``: what is written from the models of the configuration."""

import argparse
import json

from bridge.config.reference import reference
from bridge.config.sample import sample
from bridge.config.schema import schema


def command(args: argparse.Namespace) -> int:
    """Prints the text that ``args.command`` asks for; returns 0."""
    if args.command == "schema":
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
    else:
        print({"sample": sample, "reference": reference}[args.command](), end="")
    return 0
