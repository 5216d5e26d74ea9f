"""Which of the optional units a power cut leaves: systematic choices, and random ones without an end."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.crash.units import Unit

Damage = Literal["killed", "dropped", "torn", "rot"]
"""``killed``: the process ends between two calls. ``dropped``: whole calls and blocks of 4096 bytes are lost.
``torn``: sectors of 512 bytes are lost, are zero, or hold garbage. ``rot``: nothing is lost, but one place
of one file is damaged."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to choose among the optional units.

    Attributes:
        kind: ``none``, ``all``, ``done``, ``upto``, ``without``, ``only``, ``zeros``, ``head``, ``hole``,
            ``garbage``, ``random``, ``rot`` or ``reduced``.
        operation: the operation that the kind is about.
        seed: of whatever is random.
    """

    instant: int
    kind: str
    operation: int = -1
    seed: int = 0


Choice = tuple[set[int], set[int]]
"""Numbers of the units that are there, and of those that left garbage."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """The operations that have optional units at one instant.

    Attributes:
        fresh: those that were begun a moment ago.
        stale: those that nobody has made sure of for long, and maybe never will.
    """

    fresh: Sequence[int]
    stale: Sequence[int]


def recipes(
    damage: Damage, instants: Sequence[int], undecided: Mapping[int, Undecided], rng: random.Random
) -> Iterator[Recipe]:
    """Systematic ones of every depth by turns, each in random order, between random ones."""
    if damage == "rot":
        while True:
            yield Recipe(rng.choice(instants), "rot", seed=rng.getrandbits(48))
    ranks = _ranks(damage, instants, undecided, rng)
    busy = [instant for instant in instants if damage != "killed" and undecided[instant].fresh] or instants
    while damage != "killed" or any(ranks):
        for rank in ranks:
            if rank:
                yield rank.pop()
        if damage != "killed":
            yield Recipe(rng.choice(busy), "random", seed=rng.getrandbits(48))


def _ranks(
    damage: Damage, instants: Sequence[int], undecided: Mapping[int, Undecided], rng: random.Random
) -> list[list[Recipe]]:
    ranks: list[list[Recipe]] = [[], [], [], []]
    for instant in instants:
        if damage == "killed":
            ranks[0].append(Recipe(instant, "done"))
            continue
        ranks[0] += [Recipe(instant, "none"), Recipe(instant, "all")]
        for operation in undecided[instant].fresh:
            ranks[1] += [Recipe(instant, kind, operation) for kind in ("upto", "without", "zeros")]
            more = ("only", "head", "hole", "hole", "garbage") if damage == "torn" else ("only", "head", "hole")
            ranks[2] += [Recipe(instant, kind, operation, rng.getrandbits(32)) for kind in more]
        for operation in undecided[instant].stale:
            ranks[3] += [Recipe(instant, kind, operation) for kind in ("upto", "without", "only")]
    for rank in ranks:
        rng.shuffle(rank)
    return ranks


def choose(recipe: Recipe, optional: Sequence[Unit], *, torn: bool) -> Choice:
    """What of ``optional`` the recipe keeps, and what becomes garbage."""
    if recipe.kind == "done":
        return {unit.number for unit in optional if unit.done < recipe.instant}, set()
    if recipe.kind == "random":
        return _random(recipe, optional, torn=torn)
    numbers = {unit.number for unit in optional}
    if recipe.kind in {"all", "rot"}:
        return numbers, set()
    if recipe.kind == "none":
        return set(), set()
    about = recipe.operation
    before = {unit.number for unit in optional if unit.operation < about}
    of_it = [unit for unit in optional if unit.operation == about]
    lengths = {unit.number for unit in of_it if unit.kind == "grow"}
    data = [unit.number for unit in of_it if unit.kind == "data"]
    everything_of_it = {unit.number for unit in of_it}
    simple: dict[str, set[int]] = {
        "upto": before | everything_of_it,
        "without": numbers - everything_of_it,
        "only": everything_of_it,
        "zeros": before | lengths,
        "garbage": before | lengths,
    }
    if recipe.kind in simple:
        return simple[recipe.kind], set(data) if recipe.kind == "garbage" else set()
    cut = random.Random(recipe.seed).randint(0, max(0, len(data) - 1))
    pieces = data[:cut] if recipe.kind == "head" else data[:cut] + data[cut + 1 :]
    return before | lengths | set(pieces), set()


def _random(recipe: Recipe, optional: Sequence[Unit], *, torn: bool) -> Choice:
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
        elif unit.kind == "data" and torn and rng.random() < 0.1:
            garbage.add(unit.number)
    return kept, garbage
