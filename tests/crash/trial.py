"""Judges crash states, many a second; reduces and sorts those in which a promise is broken."""

import asyncio
import logging
import re
import shutil
import signal
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from tests.crash import inside
from tests.crash.memory import TOP, MemoryFiles
from tests.crash.recipes import Recipe
from tests.crash.states import CrashStates, State
from tests.crash.trace import Trace
from tests.crash.verdict import Judge

SPOOL = "spool"
"""Where the spool lies in the recorded directory."""

HANGS_AFTER = 60
"""Seconds that one state may take."""

REAL_EVERY = 50
"""One in so many states is judged on a real file system; the others in memory."""

MOMENTS = 80
"""At how many moments it is looked how far a cursor is for certain."""

MOST_CAUSES = 8
"""How many failing states are reduced."""


@dataclass
class Cause:
    """What several failing states have in common.

    Attributes:
        lost: what is lost in the reduced state, and why the judge refused it.
        count: of the states.
    """

    recipe: Recipe
    lost: tuple[str, ...]
    why: str
    count: int = 1

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for equal causes."""
        return (*sorted(pattern(self.lost)), *pattern(self.why.strip().splitlines()[-1:]))

    def explains(self, lost: Sequence[str]) -> bool:
        """Whether a state that has lost so much has lost this as well."""
        return bool(self.lost) and pattern(self.lost) <= pattern(lost)

    def __str__(self) -> str:
        lines = [f"in {self.count} states, such as {self.recipe}", *self.lost, *self.why.strip().splitlines()[-5:]]
        return "\n    ".join(lines)


def pattern(lines: Sequence[str]) -> frozenset[str]:
    """Lines without their numbers."""
    return frozenset(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "#", line)[:80] for line in lines)


@dataclass
class Outcome:
    """How many states were judged, what was wrong, and how many recoveries were crashed again."""

    judged: int = 0
    broken: int = 0
    nested: int = 0
    causes: dict[tuple[str, ...], Cause] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        self.judged += other.judged
        self.broken += other.broken
        self.nested += other.nested
        for cause in other.causes.values():
            self.note(cause)

    def note(self, cause: Cause) -> None:
        known = self.causes.setdefault(cause.key, cause)
        if known is not cause:
            known.count += cause.count


class Court:
    """Opens the spool of one state after the other; to be entered with ``with``, in the main thread."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._runner = asyncio.Runner()
        self._work = Path()

    @contextmanager
    def session(self) -> Iterator["Court"]:
        """Prepares what all states share."""
        with scratch() as self._work, inside.without_threads(), self._runner:
            before = signal.signal(signal.SIGALRM, _hangs)
            # The spool has much to say about what it finds; a judge that cares listens for itself.
            talk = logging.getLogger("bridge.spool")
            talk.propagate = False
            talk.addHandler(logging.NullHandler())
            try:
                yield self
            finally:
                talk.propagate = True
                signal.signal(signal.SIGALRM, before)

    def why(self, state: State, *, real: bool = False) -> str | None:
        """None if every promise is kept, else what happened."""
        signal.alarm(HANGS_AFTER)
        try:
            if real:
                top = self._work / "state"
                state.write(top)
                self._runner.run(self._judge.judge(top / SPOOL, None, state))
            else:
                self._runner.run(self._judge.judge(TOP / SPOOL, MemoryFiles(state), state))
        except Exception:  # noqa: BLE001 - whatever happens in a state is a finding
            return traceback.format_exc(limit=-4)
        finally:
            signal.alarm(0)
            if real:
                shutil.rmtree(self._work / "state", ignore_errors=True)
        return None

    def learn(self, trace: Trace) -> None:
        """Shows the judge what is left, at some moments, when nothing stays but what is certain."""
        model = CrashStates(trace, "dropped")
        instants = model.instants()
        for instant in instants[:: max(1, len(instants) // MOMENTS)]:
            state = model.build(Recipe(instant, "none"))
            self._runner.run(self._judge.learn(TOP / SPOOL, MemoryFiles(state), instant))

    def recovery(self, state: State, model: CrashStates) -> CrashStates:
        """The states that a cut during the next start may leave behind, under the same rules."""
        files = MemoryFiles(state, noted=True)
        self._runner.run(self._judge.recover(TOP / SPOOL, files))
        assert files.trace is not None
        return CrashStates(files.trace, model.damage, model.rules)


def try_states(model: CrashStates, court: Court, count: int, seed: int, *, nested: int = 0) -> Outcome:
    """Judges at most ``count`` states, and the recoveries of ``nested`` of them, cut off as well."""
    outcome = Outcome()
    every = max(1, count // nested) if nested else 0
    for number, state in enumerate(model.states(count, seed)):
        outcome.judged += 1
        why = court.why(state, real=number % REAL_EVERY == 0)
        if why is not None:
            outcome.broken += 1
            outcome.note(_cause(model, court, state, why, outcome))
        elif every and number % every == 0:
            _try_recovery(model, court, state, outcome, [20, 5])
    return outcome


def _try_recovery(model: CrashStates, court: Court, state: State, outcome: Outcome, counts: Sequence[int]) -> None:
    """Judges ``counts[0]`` states of a recovery that was cut off; the rest is for the recovery of the first."""
    again = court.recovery(state, model)
    for number, inner in enumerate(again.states(counts[0], outcome.judged)):
        # What was promised is what it was before the first cut.
        told = replace(inner, told=state.told, recipe=replace(inner.recipe, instant=state.recipe.instant))
        outcome.judged += 1
        outcome.nested += 1
        why = court.why(told)
        if why is not None:
            outcome.broken += 1
            lost = ("in the recovery of a state:", *again.lost(inner), "which was:", *model.lost(state))
            outcome.note(Cause(inner.recipe, lost, why))
        elif number == 0 and counts[1:]:
            _try_recovery(again, court, told, outcome, counts[1:])


def _cause(model: CrashStates, court: Court, state: State, why: str, known: Outcome) -> Cause:
    """The state with as little lost as still breaks the promise: first whole calls are given back, then blocks.

    A state that is explained by what is known already is not reduced, nor is one of very many.
    """
    lost = tuple(model.lost(state))
    for cause in known.causes.values():
        if state.rot is None and cause.explains(lost):
            return replace(cause, count=1)
    if len(known.causes) >= MOST_CAUSES:
        return Cause(state.recipe, ("many other things",), why.strip().splitlines()[-1][:40])
    optional = [] if state.rot is not None else model.optional(state.recipe.instant)
    pieces: dict[tuple[bool, int], set[int]] = defaultdict(set)
    for unit in optional:
        pieces[False, unit.operation].add(unit.number)
        pieces[True, unit.number].add(unit.number)
    for _, piece in sorted(pieces.items()):
        if piece <= state.kept:
            continue
        recipe = replace(state.recipe, kind="reduced")
        trial = model.build(recipe, (set(state.kept | piece), set(state.garbage - piece)))
        still = court.why(trial) if trial.kept != state.kept else None
        if still is not None:
            state, why = trial, still
    return Cause(state.recipe, tuple(model.lost(state)), why)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, if there is such a file system."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("the spool hangs")
