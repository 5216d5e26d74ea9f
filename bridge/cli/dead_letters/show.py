"""``edge-bridge dead-letters show``."""

import argparse
import sys
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from bridge.cli.reach import ask
from bridge.cli.sizes import safe
from bridge.errors import CommandFailed
from bridge.upkeep.lines import member, value

_WIDTH = 16


def command(args: argparse.Namespace) -> int:
    """Prints letters whole; 1 when there is none of a number."""
    first = True

    def show(raw: bytes) -> None:
        nonlocal first
        if args.json:
            sys.stdout.buffer.write(raw + b"\n")
            return
        if not first:
            print()
        first = False
        for line in lines(raw):
            print(safe(line))

    answer: dict[str, Any] = ask(args.config, "dead-letters show", {"offsets": args.offsets}, show)
    return told_missing(answer)


def told_missing(answer: dict[str, Any]) -> int:
    """Says which numbers there is no letter of; the exit code."""
    missing = ", ".join(map(str, answer["missing"]))
    if missing:
        print(f"there is no open dead letter {missing}; see: edge-bridge dead-letters list", file=sys.stderr)
    return CommandFailed.exit_code if missing else 0


def lines(raw: bytes) -> Iterator[str]:
    """One letter for people: the original readable where it is text, else in hexadecimal."""
    letter: dict[str, Any] = value(raw)
    yield f"dead letter {letter['offset']}"
    if "error" in letter:
        yield f"  cannot be read: {letter['error']}"
        return
    yield f"  reason:    {letter['reason']}"
    yield f"  given up:  by {letter['component']} after {_tries(letter['tries'])}"
    yield f"  first:     {letter['first']}"
    yield f"  last:      {letter['last']}"
    yield f"  origin:    {letter['origin']}"
    yield f"  lane:      {letter['lane']}"
    if letter["contenttype"]:
        yield f"  type:      {letter['contenttype']}"
    if letter["captures"]:
        yield f"  captures:  {', '.join(f'{name} = {text}' for name, text in letter['captures'].items())}"
    if "event" in letter:
        yield f"  event:     {member(raw, 'event').decode()}"
        return
    yield f"  original:  {letter['bytes']:,} bytes"
    yield from (f"    {line}" for line in readable(b64decode(letter["frame_base64"])))


def readable(data: bytes) -> Iterator[str]:
    """Text as it is, anything else as hexadecimal beside its printable characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\t\r\n" for character in text):
        yield from text.replace("\t", "    ").splitlines()
        return
    for at in range(0, len(data), _WIDTH):
        row = data[at : at + _WIDTH]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<{3 * _WIDTH - 1}}  {letters}"


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count:,} tries"
