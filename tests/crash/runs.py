"""Records a history and judges its crash states."""

import asyncio
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.recording import record
from tests.crash.states import CrashStates, Damage, Recipe
from tests.crash.trace import Trace, tree_of
from tests.crash.verdict import judge


@dataclass(frozen=True)
class Violation:
    """A state in which a promise is broken."""

    recipe: Recipe
    lost: tuple[str, ...]
    why: str


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, if there is such a file system."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def record_history(seed: int, *, restarts: int = 3, inject: Sequence[str] = ()) -> Trace:
    """Runs a history under strace; fails when the trace does not reproduce what lies in the directory."""
    with scratch() as work:
        top = work / "top"
        top.mkdir()
        command = [sys.executable, "-m", "tests.crash.history", str(top / "spool"), str(seed), str(restarts)]
        trace = record(command, top, work, inject)
        assert not trace.not_understood, trace.not_understood[:3]
        everything = CrashStates(trace, "killed")
        assert everything.build(Recipe(everything.instants()[-1], "all")).tree() == tree_of(top)
    return trace


def violations(trace: Trace, damage: Damage, count: int, seed: int) -> Iterator[Violation | None]:
    """For each state None, or what is wrong with it."""
    with scratch() as work:
        for number, state in enumerate(CrashStates(trace, damage).states(count, seed)):
            top = work / str(number)
            state.write(top)
            try:
                asyncio.run(judge(top / "spool", state.promises))
            except Exception:  # noqa: BLE001 - whatever happens in a state is a finding
                yield Violation(state.recipe, state.lost, traceback.format_exc(limit=-4))
            else:
                yield None
            shutil.rmtree(top)
