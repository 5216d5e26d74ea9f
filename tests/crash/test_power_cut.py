"""After a power cut at any moment everything that was promised is there, in order, once."""

import pytest

from tests.crash.recipes import Damage
from tests.crash.states import CrashStates
from tests.crash.trial import Court, try_states
from tests.crash.units import Rules
from tests.crash.workloads import Recorded, record_bridge, record_history

PER_MODEL = 120
SEED = 20261123
MODELS: tuple[tuple[Rules, Damage], ...] = (
    ("posix", "killed"),
    ("posix", "dropped"),
    ("posix", "torn"),
    ("ext4", "torn"),
)


def assert_kept(recorded: Recorded, rules: Rules, damage: Damage) -> None:
    court = Court(recorded.judge)
    with court.session():
        nested = 0 if damage == "rot" else 1
        model = CrashStates(recorded.trace, damage, rules)
        outcome = try_states(model, court, PER_MODEL, SEED, nested=nested)
    assert outcome.judged > PER_MODEL // 2
    assert list(map(str, outcome.causes.values())) == []


@pytest.fixture(
    scope="module",
    params=["steady", "outage", "dead letters in batches", "drop oldest", "restarts", "failed syncs"],
)
def bridge(request: pytest.FixtureRequest) -> Recorded:
    recorded = record_bridge(request.param, SEED)
    court = Court(recorded.judge)
    with court.session():
        court.learn(recorded.trace)
    return recorded


@pytest.fixture(scope="module", params=["history", "history, failed syncs"])
def history(request: pytest.FixtureRequest) -> Recorded:
    return record_history(request.param, 2)


@pytest.mark.parametrize(("rules", "damage"), MODELS)
def test_what_a_running_bridge_acknowledged_survives_a_power_cut(
    bridge: Recorded, rules: Rules, damage: Damage
) -> None:
    assert_kept(bridge, rules, damage)


def test_one_damaged_place_costs_what_lay_there_and_is_told(bridge: Recorded) -> None:
    assert_kept(bridge, "posix", "rot")


@pytest.mark.parametrize(("rules", "damage"), MODELS)
def test_two_cursors_that_settle_out_of_order_survive_a_power_cut(
    history: Recorded, rules: Rules, damage: Damage
) -> None:
    assert_kept(history, rules, damage)
