"""From a trace to the trees that a power cut may leave behind; ``units`` says which ones are legal."""

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from tests.crash.recipes import Choice, Damage, Recipe, Undecided, choose, recipes
from tests.crash.rot import Rot, draw_rot
from tests.crash.trace import ROOT, Promise, Trace
from tests.crash.units import Breaker, Rules, Unit

BLOCK: dict[Damage, int] = {"killed": 4096, "dropped": 4096, "torn": 512, "rot": 4096}
_BATCH = 2048
_FRESH = 6
"""How many calls are the latest."""


@dataclass(frozen=True)
class State:
    """One legal tree, and what was promised before the cut.

    Attributes:
        kept: the units that are there although nothing forces them.
        garbage: the units of which only garbage is there.
        told: how many promises were made.
        rot: the place that is damaged besides.
    """

    recipe: Recipe
    kept: frozenset[int]
    garbage: frozenset[int]
    names: dict[int, dict[str, int]]
    contents: dict[int, bytes]
    folders: set[int]
    told: int
    rot: Rot | None = None

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

    def digest(self) -> int:
        """Equal for equal trees and promises."""
        return hash((self.told, tuple(sorted((name, hash(content)) for name, content in self.tree().items()))))


@dataclass
class _Base:
    """The tree of what is forced; it only moves on in time."""

    names: dict[int, dict[str, int]]
    files: dict[int, bytearray]
    reached: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    whole: dict[int, bytes] = field(default_factory=dict)
    instant: int = -1
    optional: list[Unit] = field(default_factory=list)
    ahead: set[int] = field(default_factory=set)
    """Nodes of which something is forced behind something that is not."""


class CrashStates:
    """The states that one trace allows under one kind of damage.

    Args:
        ruin: bytes around a torn block that are ruined with it, for media without power-safe overwrites; 0
            for none.
    """

    def __init__(self, trace: Trace, damage: Damage, rules: Rules = "posix", *, ruin: int = 0) -> None:
        self.trace = trace
        self.damage = damage
        self.rules = rules
        self._ruin = ruin
        self.units = Breaker(trace, rules, BLOCK[damage]).units
        self._of_node: dict[int, list[Unit]] = defaultdict(list)
        for unit in self.units:
            self._of_node[unit.node].append(unit)
        self._told_at = [promise.at for promise in trace.promises]
        self._base = self._new_base()

    def instants(self) -> list[int]:
        """The moments at which the cut may come: at each sync and promise, or at every call."""
        every = self.damage == "killed"
        moments = {o.done for o in self.trace.operations if every or o.kind == "sync"}
        moments |= {promise.at + 1 for promise in self._telling()}
        return [*sorted(moments), max((o.done for o in self.trace.operations), default=0) + 1]

    def _telling(self) -> Iterator[Promise]:
        """Of the promises between two changes of the disk the first, which allows least, and the last."""
        changes = sorted({position for o in self.trace.operations for position in (o.begun, o.done)})
        places = [bisect_left(changes, promise.at) for promise in self.trace.promises]
        for number, promise in enumerate(self.trace.promises):
            around = places[max(number - 1, 0) : number + 2]
            if number in {0, len(places) - 1} or len(set(around)) > 1:
                yield promise

    def states(self, count: int, seed: int) -> Iterator[State]:
        """At most ``count`` states, each different from the others."""
        rng = random.Random(seed)
        instants = self.instants()
        undecided = self.undecided(instants) if self.damage in {"dropped", "torn"} else {}
        plan = recipes(self.damage, instants, undecided, rng)
        seen: set[int] = set()
        repeated = 0
        while len(seen) < count and repeated <= 400 + 4 * count:
            # In the order of time, since what is forced is only ever added to.
            batch = sorted(islice(plan, min(_BATCH, count - len(seen))), key=lambda recipe: recipe.instant)
            if not batch:
                return
            for recipe in batch:
                state = self.build(recipe)
                digest = state.digest()
                if digest in seen:
                    repeated += 1
                else:
                    seen.add(digest)
                    yield state

    def build(self, recipe: Recipe, choice: Choice | None = None) -> State:
        """The state that a recipe describes, or that a choice among the optional units makes."""
        base = self._advance(recipe.instant)
        kept, garbage = choice or choose(recipe, base.optional, torn=self.damage == "torn")
        if self.rules == "ext4":
            garbage = set()
            self._close(kept, base.optional)
        pending: dict[int, list[Unit]] = defaultdict(list)
        for unit in base.optional:
            if unit.number in kept or unit.number in garbage:
                pending[unit.node].append(unit)
        names = dict(base.names)
        for folder in (pending.keys() | base.ahead) & self.trace.folders:
            names[folder] = dict(names[folder])
            for unit in self._rest(folder, kept):
                self._change(names[folder], unit)
        contents = self._contents(names, pending, kept, garbage, random.Random(recipe.seed))
        told = bisect_left(self._told_at, recipe.instant)
        rot = None
        if recipe.kind == "rot":
            rot = draw_rot(names, contents, self.trace.folders, random.Random(recipe.seed))
        state = State(recipe, frozenset(kept), frozenset(garbage), names, contents, self.trace.folders, told, rot)
        if rot is not None:
            rot.apply(names, contents)
        return state

    def everything(self) -> State:
        """The state after everything, nothing lost."""
        return self.build(Recipe(self.instants()[-1], "all"))

    def lost(self, state: State) -> list[str]:
        """What did not survive, or survived in part or as garbage, call by call."""
        base = self._advance(state.recipe.instant)
        lost: dict[int, list[Unit]] = defaultdict(list)
        total: dict[int, int] = defaultdict(int)
        for unit in base.optional:
            total[unit.operation] += 1
            if unit.number not in state.kept:
                lost[unit.operation].append(unit)
        return [
            ("lost: " if len(units) == total[index] and not state.garbage else "lost in part: ")
            + self.trace.operations[index].text
            for index, units in sorted(lost.items())
        ] + ([state.rot.text] if state.rot is not None else [])

    def optional(self, instant: int) -> Sequence[Unit]:
        """What a cut at ``instant`` may take or leave."""
        return self._advance(instant).optional

    # --- inside ---------------------------------------------------------------------------------------

    def _new_base(self) -> _Base:
        names = {folder: dict(entries) for folder, entries in self.trace.names.items()}
        names |= {folder: {} for folder in self.trace.folders - names.keys()}
        return _Base(names, {node: bytearray(content) for node, content in self.trace.contents.items()})

    def _advance(self, instant: int) -> _Base:
        if instant < self._base.instant:
            self._base = self._new_base()
        base = self._base
        if instant == base.instant:
            return base
        base.instant = instant
        for node, units in self._of_node.items():
            reached = base.reached[node]
            while reached < len(units) and units[reached].forced < instant:
                unit = units[reached]
                if unit.kind == "entry":
                    self._change(base.names[node], unit)
                else:
                    content = base.files[node]
                    if unit.kind == "data":
                        _put(content, unit.position, unit.data)
                    else:
                        size = unit.size if unit.kind == "resize" else max(unit.size, len(content))
                        del content[size:]
                        content.extend(bytes(max(0, size - len(content))))
                    base.whole.pop(node, None)
                reached += 1
            base.reached[node] = reached
        base.optional = [unit for unit in self.units if unit.begun < instant <= unit.forced]
        base.ahead = {
            node
            for node in {unit.node for unit in base.optional}
            if any(unit.forced < instant for unit in islice(self._of_node[node], base.reached[node], None))
        }
        return base

    def _rest(self, node: int, kept: set[int]) -> Iterator[Unit]:
        """What is there of a node beyond the base, in order."""
        instant = self._base.instant
        for unit in islice(self._of_node[node], self._base.reached[node], None):
            if unit.forced < instant or (unit.number in kept and unit.begun < instant):
                yield unit

    def _contents(
        self,
        names: dict[int, dict[str, int]],
        pending: dict[int, list[Unit]],
        kept: set[int],
        garbage: set[int],
        rng: random.Random,
    ) -> dict[int, bytes]:
        base = self._base
        contents: dict[int, bytes] = {}
        for folder, entries in names.items():
            for node in entries.values() if folder in self.trace.folders else ():
                if node in self.trace.folders or node in contents:
                    continue
                if node not in pending and node not in base.ahead:
                    if node not in base.whole:
                        base.whole[node] = bytes(base.files[node])
                    contents[node] = base.whole[node]
                    continue
                content = _Content(base.files[node])
                for unit in self._rest(node, kept | garbage):
                    if unit.number in garbage:
                        content.ruin(unit, self._ruin, rng)
                    else:
                        content.apply(unit)
                contents[node] = content.seen()
        return contents

    def undecided(self, instants: Sequence[int]) -> dict[int, Undecided]:
        """What a cut at each instant may take or leave."""
        begun = sorted((operation.begun, index) for index, operation in enumerate(self.trace.operations))
        found = {}
        for instant in instants:
            latest = {index for _, index in begun[: bisect_left(begun, (instant, 0))][-_FRESH:]}
            undecided = {u.operation for u in self.units if u.begun < instant <= u.forced}
            found[instant] = Undecided(sorted(undecided & latest), sorted(undecided - latest))
        return found

    def _close(self, kept: set[int], optional: Sequence[Unit]) -> None:
        """Takes out what cannot be there without what is lost; needs always point back."""
        open_ = {unit.number for unit in optional}
        for unit in optional:
            if unit.number in kept and any(number in open_ and number not in kept for number in unit.needs):
                kept.discard(unit.number)

    def _change(self, entries: dict[str, int], unit: Unit) -> None:
        operation = self.trace.operations[unit.operation]
        if operation.kind == "link":
            entries[operation.name] = operation.node
        elif operation.kind == "unlink":
            entries.pop(operation.name, None)
        else:
            if entries.get(operation.name) == operation.node:
                del entries[operation.name]
            entries[operation.target] = operation.node


class _Content:
    """A file while units are put into it; bytes behind its length cannot be seen."""

    def __init__(self, content: bytearray) -> None:
        self._bytes = bytearray(content)
        self._size = len(content)

    def apply(self, unit: Unit) -> None:
        if unit.kind == "data":
            _put(self._bytes, unit.position, unit.data)
        elif unit.kind == "grow":
            self._size = max(self._size, unit.size)
        else:
            del self._bytes[unit.size :]
            self._size = unit.size

    def ruin(self, unit: Unit, around: int, rng: random.Random) -> None:
        start, stop = unit.position, unit.position + len(unit.data)
        if around:
            start, stop = start // around * around, -(-stop // around) * around
        _put(self._bytes, start, rng.randbytes(stop - start))

    def seen(self) -> bytes:
        return bytes(self._bytes[: self._size]) + bytes(max(0, self._size - len(self._bytes)))


def _put(content: bytearray, position: int, data: bytes) -> None:
    content.extend(bytes(max(0, position - len(content))))
    content[position : position + len(data)] = data
