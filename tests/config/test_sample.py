"""The sample is a configuration that works, and every option that it offers works, too."""

import re
from pathlib import Path

import pytest

from bridge.config.load import load
from bridge.config.options import options
from bridge.config.sample import EXAMPLES, example, sample
from bridge.config.schema import NAMED, TABLES, kinds_of

ROOT = Path(__file__).resolve().parents[2]
SWITCHED_OFF = re.compile(r"^#(?=\[|[a-z_]+ = )", re.MULTILINE)


@pytest.fixture
def text() -> str:
    return sample()


def test_the_sample_in_the_tree_is_the_one_that_is_printed(text: str) -> None:
    assert (ROOT / "config" / "edge-bridge.toml").read_text(encoding="utf-8") == text, "run: make sample"


def test_the_sample_is_a_configuration_that_starts_anywhere(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    config = load(tmp_path / "config.toml", {})
    assert (list(config.sources), list(config.sinks)) == (["sensors"], ["screen"])


def test_with_every_option_switched_on_it_is_still_a_configuration(text: str, tmp_path: Path) -> None:
    # One option that says of itself that it does not go with others.
    text, count = re.subn(r'#mode = "structured"\n((?:#.*\n)+?)#concurrency = .*\n', r'#mode = "batch"\n\1', text)
    assert count == 1
    (tmp_path / "config.toml").write_text(SWITCHED_OFF.sub("", text), encoding="utf-8")
    config = load(tmp_path / "config.toml", {})
    assert sorted(table.kind for table in config.sources.values()) == sorted(kinds_of("sources"))
    assert sorted(table.kind for table in config.sinks.values()) == sorted(kinds_of("sinks"))


def test_every_option_is_offered(text: str) -> None:
    models = [*TABLES.values(), *NAMED.values(), *kinds_of("sources").values(), *kinds_of("sinks").values()]
    for model in models:
        for option in options(model):
            offered = rf"^#?\[+[a-z.]+\.{option.name}\]+$" if option.tables else rf"^#?{option.name} = "
            assert re.search(offered, text, re.MULTILINE), (model, option.name)


def test_no_line_is_too_long_to_read(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 112


def test_every_example_is_used() -> None:
    paths = []
    for side in ("sources", "sinks"):
        for kind, model in kinds_of(side).items():
            for option in options(model):
                paths.append((f"{side}.{kind}.{option.name}", option))
                inner = options(option.tables[0]) if option.tables else []
                paths += [(f"{side}.{kind}.{option.name}.{below.name}", below) for below in inner]
    given = {example(path, option) for path, option in paths}
    assert set(EXAMPLES.values()) - given == set()
    assert '"…"' not in given
