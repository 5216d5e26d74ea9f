"""The gate itself: every fault can still be seeded, and one that changes nothing is told from one that does."""

from pathlib import Path

import pytest

from tests.mutants.__main__ import MUTANTS
from tests.mutants.mutant import ROOT, Mutant, trial

HARMLESS = Mutant(
    "harmless",
    "bridge/spool/files.py",
    "_FILE_MODE = 0o640",
    "_FILE_MODE = 416",
    ["tests/spool/test_quarantine.py"],
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_fault_can_be_seeded(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / mutant.file).read_bytes())
    mutant.apply(tmp_path)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_of_every_fault_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8")


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_fault_whose_place_has_changed_is_told() -> None:
    outcome = trial(Mutant("drifted", "bridge/spool/files.py", "no such text", "", HARMLESS.tests))
    assert not outcome.caught
    assert "0 times" in outcome.why


def test_a_fault_that_is_no_python_does_not_count_as_caught() -> None:
    outcome = trial(
        Mutant("broken", "bridge/spool/files.py", "_FILE_MODE = 0o640", "_FILE_MODE =", HARMLESS.tests)
    )
    assert not outcome.caught
    assert "no Python" in outcome.why


def test_a_fault_that_nobody_notices_survives() -> None:
    outcome = trial(HARMLESS)
    assert not outcome.caught
    assert outcome.why == "every test passes"
