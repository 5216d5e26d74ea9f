"""One place of one file damaged, long after it was written."""

import random
import re
from dataclasses import dataclass
from typing import Literal

from bridge.spool.layout import RECORD_SIZE
from tests.crash.trace import ROOT

SECTOR, PAGE = 512, 4096
_HEAD = re.compile(rb"(?s)....(?=\xeb\xb5)(?=.{%d})" % (RECORD_SIZE - 4))
"""The beginning of a record, before the magic number in it."""


@dataclass(frozen=True)
class Rot:
    """Damage in one place.

    Attributes:
        name: path of the file.
        before: its content before.
        start: where the damage begins, and ``stop`` where it ends.
        junk: what lies there now.
    """

    kind: Literal["sector", "zeros", "page", "bit", "cut", "gone"]
    folder: int
    name: str
    node: int
    before: bytes
    start: int
    stop: int
    junk: bytes

    @property
    def text(self) -> str:
        return f"damaged ({self.kind}): {self.name} [{self.start}..{self.stop})"

    def apply(self, names: dict[int, dict[str, int]], contents: dict[int, bytes]) -> None:
        """Does the damage to a tree."""
        if self.kind == "gone":
            names[self.folder] = {name: node for name, node in names[self.folder].items() if node != self.node}
        else:
            contents[self.node] = self.before[: self.start] + self.junk + self.before[self.stop :]


def draw_rot(
    names: dict[int, dict[str, int]], contents: dict[int, bytes], folders: set[int], rng: random.Random
) -> Rot | None:
    """Damage somewhere in the files of a tree; None when there is nothing to damage."""
    places = sorted(_files(names, folders, ROOT, ""))
    places = [place for place in places if contents[place[2]]]
    if not places:
        return None
    name, folder, node = rng.choice(places)
    content = contents[node]
    size = len(content)
    kind: Literal["sector", "zeros", "page", "bit", "cut", "gone"]
    kind = rng.choice(("sector", "sector", "zeros", "bit", "bit", "bit", "page", "cut", "gone"))
    at = rng.randrange(size)
    if kind == "gone":
        return Rot(kind, folder, name, node, content, 0, size, b"")
    if kind == "cut":
        return Rot(kind, folder, name, node, content, at, size, b"")
    if kind == "bit":
        heads = [match.start() for match in _HEAD.finditer(content)]
        if heads and rng.random() < 0.5:
            # Most bytes are payload; those that say where it ends are worth as much.
            at = rng.choice(heads) + rng.randrange(RECORD_SIZE)
        junk = bytes([content[at] ^ 1 << rng.randrange(8)])
        return Rot(kind, folder, name, node, content, at, at + 1, junk)
    width = PAGE if kind == "page" or (kind == "zeros" and rng.random() < 0.5) else SECTOR
    start = at // width * width
    stop = min(size, start + width)
    junk = bytes(stop - start) if kind == "zeros" else rng.randbytes(stop - start)
    return Rot(kind, folder, name, node, content, start, stop, junk)


def _files(
    names: dict[int, dict[str, int]], folders: set[int], folder: int, prefix: str
) -> list[tuple[str, int, int]]:
    found = []
    for name, node in names.get(folder, {}).items():
        if node in folders:
            found += _files(names, folders, node, f"{prefix}{name}/")
        else:
            found.append((prefix + name, folder, node))
    return found
