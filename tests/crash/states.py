"""From a trace to the trees that a power cut may leave behind.

Every operation is broken into units, the smallest things that reach the medium by themselves: the bytes of
one block of one file, the length of a file after a write or a resize, one change of one directory entry.
At the instant of the cut a unit is *forced* when a sync that began after the unit was done has itself
returned without error; any other unit that has begun is *optional*. A legal state is all forced units with
any subset of the optional ones: POSIX promises no order. A sync that failed forces nothing, and what it
covered can never be forced by a later one, because the kernel marks the pages clean.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.crash.trace import ROOT, Operation, Trace

Damage = Literal["killed", "dropped", "torn"]
"""``killed``: the process ends between two calls. ``dropped``: whole calls and blocks of 4096 bytes are lost.
``torn``: sectors of 512 bytes are lost, are zero, or hold garbage."""

NEVER = float("inf")
BLOCK: dict[Damage, int] = {"killed": 4096, "dropped": 4096, "torn": 512}


@dataclass
class Unit:
    """One thing that reaches the medium by itself."""

    number: int
    operation: int
    kind: Literal["data", "grow", "resize", "entry"]
    node: int
    begun: int
    done: int
    position: int = 0
    data: bytes = b""
    size: int = 0
    forced: float = NEVER
    poisoned: bool = False
    partner: int = -1


@dataclass(frozen=True)
class Recipe:
    """How to choose among the optional units.

    Attributes:
        kind: ``none``, ``all``, ``done``, ``upto``, ``without``, ``only``, ``zeros``, ``head``, ``hole``,
            ``garbage`` or ``random``.
        operation: the operation that the kind is about.
        seed: of whatever is random.
    """

    instant: int
    kind: str
    operation: int = -1
    seed: int = 0


@dataclass(frozen=True)
class State:
    """One legal tree, and the promises that were made before the cut."""

    recipe: Recipe
    names: dict[int, dict[str, int]]
    contents: dict[int, bytes]
    folders: set[int]
    promises: bytes
    lost: tuple[str, ...]

    def write(self, top: Path, node: int = ROOT) -> None:
        """Makes the tree below ``top``, which does not exist."""
        top.mkdir()
        for name, child in self.names.get(node, {}).items():
            if child in self.folders:
                self.write(top / name, child)
            else:
                (top / name).write_bytes(self.contents[child])

    def tree(self, node: int = ROOT, prefix: str = "") -> dict[str, bytes | None]:
        """Every file with its content, every directory with None."""
        tree: dict[str, bytes | None] = {}
        for name, child in self.names.get(node, {}).items():
            if child in self.folders:
                tree[prefix + name] = None
                tree |= self.tree(child, prefix + name + "/")
            else:
                tree[prefix + name] = self.contents[child]
        return tree

    def digest(self) -> bytes:
        """Equal for equal trees and promises."""
        hashed = hashlib.blake2b(self.promises, digest_size=16)
        for name, content in sorted(self.tree().items()):
            hashed.update(name.encode() + b"\0" + (content if content is not None else b"/") + b"\0")
        return hashed.digest()


class CrashStates:
    """The states that one trace allows under one kind of damage."""

    def __init__(self, trace: Trace, damage: Damage) -> None:
        self.trace = trace
        self.damage = damage
        self.units: list[Unit] = []
        self._block = BLOCK[damage]
        self._sizes = {node: len(content) for node, content in trace.contents.items()}
        self._open: dict[int, list[Unit]] = defaultdict(list)
        for index, operation in enumerate(trace.operations):
            self._break(index, operation)
        self._by_operation: dict[int, list[Unit]] = defaultdict(list)
        for unit in self.units:
            self._by_operation[unit.operation].append(unit)

    # --- units ----------------------------------------------------------------------------------------

    def _break(self, index: int, operation: Operation) -> None:
        if operation.kind == "write":
            self._break_write(index, operation)
        elif operation.kind == "resize":
            self._add(index, operation, "resize", operation.node, size=operation.size)
            self._sizes[operation.node] = operation.size
        elif operation.kind in ("link", "unlink", "rename"):
            self._add(index, operation, "entry", operation.folder)
        elif operation.kind == "sync":
            for unit in self._open[operation.node]:
                if operation.failed:
                    unit.poisoned = unit.poisoned or unit.begun < operation.done
                elif unit.done <= operation.begun and not unit.poisoned:
                    unit.forced = operation.done
            self._open[operation.node] = [unit for unit in self._open[operation.node] if unit.forced == NEVER]

    def _break_write(self, index: int, operation: Operation) -> None:
        position, end = operation.position, operation.position + len(operation.data)
        while position < end:
            stop = min(end, (position // self._block + 1) * self._block)
            piece = operation.data[position - operation.position : stop - operation.position]
            data = self._add(index, operation, "data", operation.node, position=position, data=piece)
            if stop > self._sizes.get(operation.node, 0):
                grow = self._add(index, operation, "grow", operation.node, size=stop)
                data.partner, grow.partner = grow.number, data.number
                self._sizes[operation.node] = stop
            position = stop

    def _add(
        self,
        index: int,
        operation: Operation,
        kind: Literal["data", "grow", "resize", "entry"],
        node: int,
        *,
        position: int = 0,
        data: bytes = b"",
        size: int = 0,
    ) -> Unit:
        unit = Unit(len(self.units), index, kind, node, operation.begun, operation.done, position, data, size)
        self.units.append(unit)
        self._open[node].append(unit)
        return unit

    # --- states ---------------------------------------------------------------------------------------

    def instants(self) -> list[int]:
        """Moments worth a cut: after every sync and promise (after every call, for a kill), and the end."""
        kinds = ("sync", "promise")
        moments = {o.done for o in self.trace.operations if self.damage == "killed" or o.kind in kinds}
        return [*sorted(moments), max((o.done for o in self.trace.operations), default=0) + 1]

    def recipes(self, seed: int) -> Iterator[Recipe]:
        """Systematic ones of every depth by turns, each in random order, between random ones; without an end."""
        rng = random.Random(seed)
        instants = self.instants()
        ranks: list[list[Recipe]] = [[], [], []]
        for instant in instants:
            if self.damage == "killed":
                ranks[0].append(Recipe(instant, "done"))
                continue
            ranks[0] += [Recipe(instant, "none"), Recipe(instant, "all")]
            for operation in self._undecided(instant):
                ranks[1] += [Recipe(instant, kind, operation) for kind in ("upto", "without", "zeros")]
                ranks[2].append(Recipe(instant, "only", operation))
                if self.damage == "torn":
                    more = ("head", "hole", "garbage")
                    ranks[2] += [Recipe(instant, kind, operation, rng.getrandbits(32)) for kind in more]
        for rank in ranks:
            rng.shuffle(rank)
        while self.damage != "killed" or any(ranks):
            for rank in ranks:
                if rank:
                    yield rank.pop()
            if self.damage != "killed":
                yield Recipe(rng.choice(instants), "random", seed=rng.getrandbits(48))

    def states(self, count: int, seed: int) -> Iterator[State]:
        """At most ``count`` states, each different from the others."""
        seen: set[bytes] = set()
        repeated = 0
        for recipe in self.recipes(seed):
            state = self.build(recipe)
            digest = state.digest()
            if digest in seen:
                repeated += 1
                if repeated > 400 + 4 * count:
                    return
                continue
            seen.add(digest)
            yield state
            if len(seen) >= count:
                return

    def build(self, recipe: Recipe) -> State:
        """The state that a recipe describes."""
        forced = {unit.number for unit in self.units if unit.forced < recipe.instant}
        optional = [u for u in self.units if u.begun < recipe.instant and u.forced >= recipe.instant]
        kept, garbage = self._choose(recipe, optional)
        kept |= forced
        rng = random.Random(recipe.seed)
        names = {folder: dict(entries) for folder, entries in self.trace.names.items()}
        files = {node: bytearray(content) for node, content in self.trace.contents.items()}
        for unit in self.units:
            if unit.number in kept:
                self._apply(unit, names, files)
            elif unit.number in garbage:
                _put(files[unit.node], unit.position, rng.randbytes(len(unit.data)))
        promises = [o.data for o in self.trace.operations if o.kind == "promise" and o.done < recipe.instant]
        lost = {u.operation for u in optional if u.number not in kept}
        return State(
            recipe,
            names,
            {node: bytes(content) for node, content in files.items()},
            self.trace.folders,
            b"".join(promises),
            tuple(self.trace.operations[index].text for index in sorted(lost)),
        )

    def _undecided(self, instant: int) -> list[int]:
        return sorted({unit.operation for unit in self.units if unit.begun < instant <= unit.forced})

    def _choose(self, recipe: Recipe, optional: list[Unit]) -> tuple[set[int], set[int]]:
        about = recipe.operation
        numbers = {unit.number for unit in optional}
        before = {unit.number for unit in optional if unit.operation < about}
        of_it = [unit for unit in optional if unit.operation == about]
        lengths = {unit.number for unit in of_it if unit.kind == "grow"}
        data = [unit for unit in of_it if unit.kind == "data"]
        if recipe.kind == "done":
            return {unit.number for unit in optional if unit.done < recipe.instant}, set()
        if recipe.kind == "random":
            return self._random(recipe, optional)
        simple: dict[str, set[int]] = {
            "none": set(),
            "all": numbers,
            "upto": before | {unit.number for unit in of_it},
            "without": numbers - {unit.number for unit in of_it},
            "only": {unit.number for unit in of_it},
            "zeros": before | lengths,
            "garbage": before | lengths,
        }
        if recipe.kind in simple:
            return simple[recipe.kind], {u.number for u in data} if recipe.kind == "garbage" else set()
        cut = random.Random(recipe.seed).randint(0, max(0, len(data) - 1))
        pieces = data[:cut] if recipe.kind == "head" else data[:cut] + data[cut + 1 :]
        return before | lengths | {unit.number for unit in pieces}, set()

    def _random(self, recipe: Recipe, optional: list[Unit]) -> tuple[set[int], set[int]]:
        rng = random.Random(recipe.seed)
        kept: set[int] = set()
        garbage: set[int] = set()
        operations = sorted({unit.operation for unit in optional})
        whole_until = rng.choice(operations) if operations and rng.random() < 0.6 else -1
        chance = rng.choice((0.1, 0.3, 0.5, 0.7, 0.9, 0.97))
        by_operation = rng.random() < 0.5
        draws = {operation: rng.random() < chance for operation in operations}
        for unit in optional:
            if unit.operation < whole_until:
                kept.add(unit.number)
                continue
            keep = draws[unit.operation] if by_operation else rng.random() < chance
            if unit.kind == "grow":
                # Mostly with its bytes; now and then a length without bytes.
                keep = unit.partner in kept or unit.partner in garbage or rng.random() < 0.3
            if keep:
                kept.add(unit.number)
            elif unit.kind == "data" and self.damage == "torn" and rng.random() < 0.1:
                garbage.add(unit.number)
        return kept, garbage

    def _apply(self, unit: Unit, names: dict[int, dict[str, int]], files: dict[int, bytearray]) -> None:
        if unit.kind == "data":
            _put(files[unit.node], unit.position, unit.data)
        elif unit.kind == "grow":
            _resize(files[unit.node], max(unit.size, len(files[unit.node])))
        elif unit.kind == "resize":
            _resize(files[unit.node], unit.size)
        else:
            operation = self.trace.operations[unit.operation]
            entries = names.setdefault(unit.node, {})
            if operation.kind == "link":
                entries[operation.name] = operation.node
            elif operation.kind == "unlink":
                entries.pop(operation.name, None)
            else:
                if entries.get(operation.name) == operation.node:
                    del entries[operation.name]
                entries[operation.target] = operation.node


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, position: int, data: bytes) -> None:
    if len(content) < position + len(data):
        _resize(content, position + len(data))
    content[position : position + len(data)] = data
