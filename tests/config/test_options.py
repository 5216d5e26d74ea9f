"""Options are described in the words and units of the file."""

import tomllib

import pytest

from bridge.config.options import Option, kind_name, options, prose, summary, toml, words
from tests.config.toy_kinds import Block, Line, Lock, ToySink, ToySource


def of(name: str) -> Option:
    return next(option for option in options(ToySource) if option.name == name)


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("port", "text", None),
        ("baudrate", "whole number", "9600"),
        ("loud", "true or false", "false"),
        ("volume", "number, more than 0, at most 11", "1.5"),
        ("mood", '"merry" or "grim"', '"merry"'),
        ("wait", "duration, at least 0s", '"30s"'),
        ("room", "size, at least 1KiB", '"64KiB"'),
        ("words", "list of text", None),
        ("topics", "text or list of text", None),
        ("token_file", "path", None),
        ("framing", "table", None),
    ],
)
def test_an_option_in_words(name: str, kind: str, default: str | None) -> None:
    option = of(name)
    assert (option.kind, option.default) == (kind, default)


def test_required_options_come_first_and_tables_last() -> None:
    found = options(ToySource)
    assert (
        [option.name for option in found if option.required and not option.tables] == [found[0].name] == ["port"]
    )
    assert [option.name for option in found][-4:] == ["event", "decoder", "lane_rules", "framing"]
    assert [option.name for option in found if option.many] == ["lane_rules"]
    assert "kind" not in {option.name for option in found}


def test_a_table_knows_what_may_stand_there() -> None:
    assert of("framing").tables == (Line, Block)
    (lock,) = [option for option in options(ToySink) if option.tables]
    assert lock.tables == (Lock,)
    assert [kind_name(model) for model in (Line, Lock)] == ["line", None]


def test_meanings_are_paragraphs() -> None:
    assert of("port").meaning == "Where the toy is. Further words."
    assert summary(ToySource) == "A toy that says things."
    assert prose("One\nline of ``code``.\n\nTwo.") == "One line of `code`.\n\nTwo."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (1, "1s"), (90, "90s"), (120, "2m"), (7200, "2h"), (604800, "7d")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert words({"type": "number", "x-unit": "duration", "maximum": seconds}) == f"duration, at most {text}"


@pytest.mark.parametrize("value", ['a\n"b\\', 'ä"', True, 1, 1.5, ["a", 1], {"a": {"b c": []}}, {}, "\x7f"])
def test_values_are_legal_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value
