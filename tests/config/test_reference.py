"""The reference names every option, and is the one in the tree."""

from pathlib import Path

from pydantic import BaseModel

from bridge.config.options import kind_name, options
from bridge.config.reference import reference
from bridge.config.schema import TABLES, kinds_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_in_the_tree_is_the_one_that_is_printed() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference(), "run: make sample"


def test_every_option_of_every_table_is_in_it() -> None:
    text = reference()
    rest: list[type[BaseModel]] = [*TABLES.values(), *kinds_of("sources").values(), *kinds_of("sinks").values()]
    while rest:
        model = rest.pop()
        kind = kind_name(model)
        assert kind is None or f'`kind = "{kind}"`' in text
        for option in options(model):
            assert f"\n| `{option.name}` | " in text
            rest += option.tables


def test_every_table_is_described_once() -> None:
    headings = [line for line in reference().splitlines() if line.startswith("#")]
    assert len(headings) == len(set(headings))
    assert "### `event`" in headings
    assert '### `framing` with `kind = "delimited"`' in headings
