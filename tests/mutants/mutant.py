"""A fault seeded on purpose, and the trial that has to notice it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("bridge", "tests", "pyproject.toml")
PATIENCE = 600.0
"""Seconds for one trial; a fault that makes a test hang is found, too."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_PASSED, _SOME_FAILED = 0, 1
"""The exit codes of pytest that say something about the tests; any other is about the trial itself."""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        name: the guarantee that is broken, and how.
        file: where, from the root of the tree.
        old: the text that is replaced; stands there exactly once.
        new: what replaces it.
        tests: what has to fail: paths or node ids of pytest.
    """

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]

    def found_in(self, root: Path) -> int:
        """How often the old text stands in its file; 0 when there is no such file."""
        path = root / self.file
        return path.read_text(encoding="utf-8").count(self.old) if path.is_file() else 0

    def apply(self, root: Path) -> None:
        """Seeds the fault.

        Raises:
            ValueError: the old text is not there once, or the new one is no Python.
        """
        times = self.found_in(root)
        if times != 1:
            raise ValueError(f"{self.file} holds the old text {times} times instead of once")
        path = root / self.file
        text = path.read_text(encoding="utf-8").replace(self.old, self.new)
        try:
            compile(text, self.file, "exec")
        except SyntaxError as error:
            raise ValueError(f"the new text is no Python: {error}") from error
        path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    """What a trial gave.

    Attributes:
        caught: whether a test failed.
        why: the test that failed, or what went wrong with the trial.
    """

    caught: bool
    why: str


@contextmanager
def tree() -> Iterator[Path]:
    """A copy of the code and its tests."""
    root = Path(tempfile.mkdtemp(prefix="mutant-"))
    try:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def sound(tests: Sequence[str]) -> Outcome:
    """Whether the tests fail without any fault, which would make every trial worthless."""
    with tree() as root:
        return _run(root, tests, first_failure_ends=False)


def trial(mutant: Mutant) -> Outcome:
    """Seeds the fault in a copy and runs its tests there."""
    with tree() as root:
        try:
            mutant.apply(root)
        except ValueError as error:
            return Outcome(False, str(error))
        return _run(root, mutant.tests, first_failure_ends=True)


def _run(root: Path, tests: Sequence[str], *, first_failure_ends: bool) -> Outcome:
    options = ["-m", "not slow", "-q", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-seed=1", "--timeout=60"]
    options += ["-x"] if first_failure_ends else []
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            told, _ = run.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return Outcome(True, f"hangs for {PATIENCE:.0f} s")
        finally:
            # A test that was cut short may have left programs of its own.
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    failed = _FAILED.search(told)
    if run.returncode == _SOME_FAILED and failed:
        return Outcome(True, failed[1])
    if run.returncode == _PASSED:
        return Outcome(False, "every test passes")
    return Outcome(False, f"pytest ended with {run.returncode}: {told[-400:].strip()}")
