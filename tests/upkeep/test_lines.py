"""The lines of an answer: what was put in comes out, and an item stays as it was written."""

import pytest
from hypothesis import given

from bridge.errors import CommandFailed
from bridge.upkeep.lines import (
    Answer,
    Args,
    Item,
    Progress,
    answer,
    item,
    items,
    joined,
    member,
    parse,
    progress,
)
from bridge.upkeep.lines import value as value_of
from tests.kit.events import json_values


def test_what_was_said_is_understood() -> None:
    assert parse(progress("events", 5, 10)) == Progress("events", 5, 10)
    assert parse(progress("events", 5, None, 7)) == Progress("events", 5, None, 7)
    assert parse(answer(stored=3)) == Answer({"stored": 3})
    assert value_of(b'{"a":"\xc3\xa4"}') == {"a": "ä"}


@given(json_values)
def test_an_item_is_the_text_that_was_put_in(given_value: object) -> None:
    line = items({"x": given_value})
    assert line.count(b"\n") == 1
    found = parse(line)
    assert isinstance(found, Item)
    assert value_of(found.raw) == {"x": given_value}
    assert item(found.raw) == line


def test_a_member_comes_out_as_it_was_written() -> None:
    event = b'{"id":"1","data": {"v": 21.50, "event": 1e400, "n": ' + b"9" * 5000 + b"}}"
    raw = joined({"offset": 1, "captures": {"event": "x", "other": ',"event":{}'}}, "event", event)
    assert member(raw, "event") == event
    assert value_of(raw)["offset"] == 1


@pytest.mark.parametrize("line", [b"{}", b"[]", b'{"answer":5}', b'{"progress":{"x":1}}', b"nonsense"])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(line)


def test_arguments_of_the_wrong_kind_are_said() -> None:
    args = Args({"lane": 5, "count": -1, "from": True, "offsets": [1, "2"], "all": "yes"})
    for wrong in (
        lambda: args.text("lane"),
        lambda: args.number("count"),
        lambda: args.number("from"),
        lambda: args.numbers("offsets"),
    ):
        with pytest.raises(CommandFailed, match="expected"):
            wrong()
    assert not args.flag("all")
    assert (args.text("no"), args.number("no"), args.numbers("no")) == (None, None, ())
