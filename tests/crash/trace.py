"""What a program did to one directory: an initial tree, operations in time, and what it promised meanwhile."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = 1

Kind = Literal["write", "resize", "link", "unlink", "rename", "sync"]


@dataclass(slots=True)
class Operation:
    """One call, from its start to its completion, in positions of the log.

    Attributes:
        node: the file or directory it is about.
        name: the entry made, removed or renamed.
        target: the new name of a rename.
        replaced: whether the new name had a file before.
        failed: whether a sync returned an error.
    """

    kind: Kind
    begun: int
    done: int
    text: str
    node: int = 0
    folder: int = 0
    name: str = ""
    target: str = ""
    replaced: bool = False
    position: int = 0
    data: bytes = b""
    size: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Promise:
    """What somebody outside knows from any position of the log behind ``at`` on."""

    at: int
    text: str


@dataclass
class Trace:
    """The initial tree (by node numbers) and everything that happened to it."""

    folders: set[int] = field(default_factory=lambda: {ROOT})
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    operations: list[Operation] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    not_understood: list[str] = field(default_factory=list)
    _last: int = ROOT

    def new_node(self, *, folder: bool = False, content: bytes = b"") -> int:
        self._last += 1
        if folder:
            self.folders.add(self._last)
        else:
            self.contents[self._last] = content
        return self._last

    def load(self, top: Path, node: int = ROOT) -> None:
        """Takes the tree below ``top`` as it is now."""
        for path in sorted(top.iterdir()):
            if path.is_dir():
                child = self.new_node(folder=True)
                self.names[child] = {}
                self.load(path, child)
            else:
                child = self.new_node(content=path.read_bytes())
            self.names[node][path.name] = child

    def in_order(self) -> None:
        """Brings operations and promises into the order of their completion."""
        self.operations.sort(key=lambda operation: operation.done)
        self.promises.sort(key=lambda promise: promise.at)


def tree_of(top: Path) -> dict[str, bytes | None]:
    """Every file below ``top`` with its content, every directory with None."""
    tree: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(top):
        for name in folders:
            tree[str((Path(folder) / name).relative_to(top))] = None
        for name in files:
            path = Path(folder) / name
            tree[str(path.relative_to(top))] = path.read_bytes()
    return tree
