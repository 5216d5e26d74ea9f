from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import sinks, sources
from bridge.config.load import load
from bridge.errors import ConfigError


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy kinds are built in."""
    monkeypatch.setitem(sources.KINDS, "toy", "tests.config.toy_kinds:ToySource")
    monkeypatch.setitem(sinks.KINDS, "ear", "tests.config.toy_kinds:ToySink")


Mistakes = Callable[[str], dict[str, str]]


@pytest.fixture
def mistakes(toys: None, tmp_path: Path) -> Mistakes:
    """What loading a text complains about, message by path."""

    def of(text: str) -> dict[str, str]:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(path, {"SECRET": "hunter2"})
        problems = caught.value.problems
        assert len(problems) == len({problem.path for problem in problems}), problems
        return {problem.path: problem.message for problem in problems}

    return of
