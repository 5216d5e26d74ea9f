"""The spool after a power cut at any moment: everything acknowledged is there, in order, once."""

import pytest

from tests.crash.runs import record_history, violations
from tests.crash.states import Damage
from tests.crash.trace import Trace

PER_MODEL = 250
SEED = 20261123


@pytest.fixture(scope="module")
def plain() -> Trace:
    return record_history(1)


@pytest.fixture(scope="module")
def with_failed_syncs() -> Trace:
    return record_history(2, restarts=2, inject=["fdatasync:error=EIO:when=5+7"])


@pytest.mark.parametrize("damage", ["killed", "dropped", "torn"])
def test_a_power_cut_loses_nothing_that_was_acknowledged(plain: Trace, damage: Damage) -> None:
    found = list(violations(plain, damage, PER_MODEL, SEED))
    assert len(found) > PER_MODEL // 2
    assert [violation for violation in found if violation] == []


@pytest.mark.parametrize("damage", ["killed", "dropped", "torn"])
def test_a_failed_sync_is_not_taken_for_a_good_one(with_failed_syncs: Trace, damage: Damage) -> None:
    found = list(violations(with_failed_syncs, damage, PER_MODEL, SEED))
    assert len(found) > PER_MODEL // 2
    assert [violation for violation in found if violation] == []
