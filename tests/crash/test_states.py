"""What the engine takes for possible after a power cut, and that its judges can find a broken promise."""

import random
from dataclasses import replace
from itertools import islice

import pytest

from tests.crash.recipes import Damage, Recipe, recipes
from tests.crash.states import CrashStates
from tests.crash.trace import ROOT, Operation, Promise, Trace
from tests.crash.trial import Court, try_states
from tests.crash.units import Rules
from tests.crash.verdict import HistoryJudge
from tests.crash.workloads import record_history

Tree = dict[str, bytes | None]


class Script:
    """A trace, call by call."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._now = 0

    def make(self, name: str) -> int:
        node = self.trace.new_node()
        self._add(Operation("link", 0, 0, f"create {name}", folder=ROOT, name=name, node=node))
        return node

    def write(self, node: int, position: int, data: bytes) -> None:
        self._add(Operation("write", 0, 0, f"write #{node}", node=node, position=position, data=data))

    def sync(self, node: int, *, failed: bool = False) -> None:
        self._add(Operation("sync", 0, 0, f"sync #{node}", node=node, failed=failed))

    def rename(self, node: int, old: str, new: str, *, replaced: bool = False) -> None:
        facts = {"folder": ROOT, "name": old, "target": new, "node": node, "replaced": replaced}
        self._add(Operation("rename", 0, 0, f"rename {old} to {new}", **facts))  # type: ignore[arg-type]

    def _add(self, operation: Operation) -> None:
        self._now += 2
        self.trace.operations.append(replace(operation, begun=self._now, done=self._now + 1))


def trees(script: Script, damage: Damage = "dropped", rules: Rules = "posix") -> list[Tree]:
    """Every tree that is found when the power goes after everything was done."""
    model = CrashStates(script.trace, damage, rules)
    end = model.instants()[-1]
    found: list[Tree] = []
    for recipe in islice(recipes(damage, [end], model.undecided([end]), random.Random(1)), 500):
        tree = model.build(recipe).tree()
        if tree not in found:
            found.append(tree)
    return found


def test_a_name_is_certain_only_when_its_directory_was_synced() -> None:
    script = Script()
    node = script.make("a")
    script.sync(node)
    assert {} in trees(script)
    script.sync(ROOT)
    assert trees(script) == [{"a": b""}]


def test_bytes_are_certain_when_a_sync_that_began_behind_them_has_returned() -> None:
    script = Script()
    node = script.make("a")
    script.sync(ROOT)
    script.write(node, 0, b"x")
    assert {"a": b""} in trees(script)
    script.sync(node)
    assert trees(script) == [{"a": b"x"}]
    script.trace.operations[-1].begun = script.trace.operations[-2].begun + 1
    script.trace.operations[-2].done = script.trace.operations[-1].begun + 1
    assert {"a": b""} in trees(script)


def test_what_a_failed_sync_covered_is_certain_only_when_it_was_written_again() -> None:
    script = Script()
    node = script.make("a")
    script.write(node, 0, b"old")
    script.sync(node)
    script.sync(ROOT)
    script.write(node, 0, b"new")
    script.sync(node, failed=True)
    script.sync(node)
    assert {"a": b"old"} in trees(script)
    script.write(node, 0, b"new")
    script.sync(node)
    assert trees(script) == [{"a": b"new"}]


def test_blocks_are_lost_one_by_one_and_torn_by_the_sector() -> None:
    script = Script()
    node = script.make("a")
    script.sync(ROOT)
    script.write(node, 0, b"x" * 8192)
    lost_first = bytes(4096) + b"x" * 4096
    assert {"a": lost_first} in trees(script)
    torn = [tree["a"] or b"" for tree in trees(script, "torn")]
    assert any(content.startswith(b"x" * 512) and content[512:1024] == bytes(512) for content in torn)
    assert any(set(content) - {0, ord("x")} for content in torn)


@pytest.mark.parametrize(("rules", "possible"), [("posix", True), ("ext4", False)])
def test_ext4_keeps_names_in_order_and_never_shows_a_length_without_its_bytes(
    rules: Rules, possible: bool
) -> None:
    names = Script()
    names.make("a")
    names.make("b")
    assert ({"b": b""} in trees(names, rules=rules)) is possible
    lengths = Script()
    node = lengths.make("a")
    lengths.sync(ROOT)
    lengths.write(node, 0, b"x")
    assert ({"a": b"\0"} in trees(lengths, rules=rules)) is possible
    replacing = Script()
    old, new = replacing.make("a"), replacing.make("b")
    replacing.write(old, 0, b"old")
    replacing.sync(old)
    replacing.sync(ROOT)
    replacing.write(new, 0, b"new")
    replacing.rename(new, "b", "a", replaced=True)
    assert ({"a": b""} in trees(replacing, rules=rules)) is possible


@pytest.mark.parametrize(("rules", "possible"), [("posix", True), ("ext4", False)])
def test_on_ext4_the_sync_of_any_file_makes_earlier_names_certain(rules: Rules, possible: bool) -> None:
    script = Script()
    node = script.make("a")
    script.write(node, 0, b"x")
    script.sync(node)
    assert ({} in trees(script, rules=rules)) is possible


def test_a_state_is_made_once() -> None:
    script = Script()
    node = script.make("a")
    script.write(node, 0, b"x" * 8192)
    states = list(CrashStates(script.trace, "torn").states(500, 1))
    assert len({(state.told, str(state.tree())) for state in states}) == len(states) == 500


def test_a_promise_made_one_sync_too_early_is_found_and_reduced_to_what_was_lost() -> None:
    recorded = record_history("history", 3, restarts=1)
    trace = recorded.trace
    syncs = [operation.done for operation in trace.operations if operation.kind == "sync"]

    def earlier(promise: Promise) -> Promise:
        if not promise.text.startswith("ACK"):
            return promise
        return replace(promise, at=max((sync for sync in syncs if sync < promise.at), default=1) - 1)

    trace.promises = sorted(map(earlier, trace.promises), key=lambda promise: promise.at)
    court = Court(HistoryJudge(trace))
    with court.session():
        model = CrashStates(trace, "dropped")
        outcome = try_states(model, court, 200, 1)
        assert outcome.broken > 10
        assert any("acknowledged and lost" in cause.why for cause in outcome.causes.values())
        assert min(len(cause.lost) for cause in outcome.causes.values()) == 1
        nothing_lost = model.build(Recipe(model.instants()[-1], "all"))
        assert court.why(nothing_lost) is None
