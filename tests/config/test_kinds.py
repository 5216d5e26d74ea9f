"""A kind is imported when it is asked for; what cannot be imported is said, never a traceback."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bridge import sources
from bridge.config import kinds
from bridge.errors import ConfigError
from bridge.sources.settings import SourceSettings
from tests.config.toy_kinds import ToySource


def find(kind: object) -> type[SourceSettings]:
    return kinds.settings_class("sources", kind, SourceSettings, "sources.x")


def test_a_built_in_kind_is_found(toys: None) -> None:
    assert find("toy") is ToySource


def test_a_kind_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("alien", "tests.config.toy_kinds:ToySource", "bridge.sources")
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point] if group == "bridge.sources" else [])
    assert find("alien") is ToySource
    assert kinds.kinds("sources") == [*sources.KINDS, "alien"]
    assert kinds.kinds("sinks") == list(kinds.BUILT_IN["sinks"])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:X", "the Python module no_such_module is missing"),
        ("tests.config.toy_kinds:Nothing", "does not load"),
        ("tests.config.toy_kinds:NO_CLASS", "is no SourceSettings"),
        ("tests.config.toy_kinds:ToySink", "is no SourceSettings"),
    ],
)
def test_a_kind_that_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch, target: str, message: str) -> None:
    monkeypatch.setitem(sources.KINDS, "bad", target)
    with pytest.raises(ConfigError, match=message) as caught:
        find("bad")
    assert caught.value.problems[0].path == "sources.x.kind"


def test_a_module_that_fails_while_it_is_imported_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "module_with_a_typo.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sources.KINDS, "bad", "module_with_a_typo:X")
    with pytest.raises(ConfigError, match="module_with_a_typo does not load"):
        find("bad")
    assert "module_with_a_typo" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("MQTT", 'did you mean "mqtt"'),
        ("steam", 'it must be one of "serial", "mqtt"'),
        ("amqp", "only a kind of sinks"),
        (5, "must be a word in quotes"),
    ],
)
def test_an_unknown_kind_names_the_known_ones(kind: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find(kind)
