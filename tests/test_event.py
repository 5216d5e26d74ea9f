"""The rules of CloudEvents 1.0 that an event keeps from its creation on."""

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.event import Event, is_timestamp, timestamp, violations
from tests.kit.events import events

LEGAL = Event(id="1", source="urn:gw/boiler", type="com.example.reading", time="2026-11-23T10:00:00.5Z")


@given(events())
def test_legal_events_break_no_rule(event: Event) -> None:
    assert list(violations(event)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"id": ""}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"source": ""}, "source"),
        ({"source": "a b"}, "source"),
        ({"source": "a%2"}, "source"),
        ({"type": ""}, "type"),
        ({"type": "\ud800"}, "type"),
        ({"subject": ""}, "subject"),
        ({"subject": "a\x85"}, "subject"),
        ({"subject": "\ufdd0"}, "subject"),
        ({"subject": "\U0001ffff"}, "subject"),
        ({"time": "2026-11-23 10:00:00Z"}, "time"),
        ({"time": "2026-11-23T10:00:00"}, "time"),
        ({"time": "2026-02-30T10:00:00Z"}, "time"),
        ({"time": "٢٠٢٦-11-23T10:00:00Z"}, "time"),
        ({"time": "2026-11-23T10:00:00+02:30:15"}, "time"),
        ({"datacontenttype": "json"}, "datacontenttype"),
        ({"datacontenttype": "a/b\r\nx: y"}, "datacontenttype"),
        ({"datacontenttype": "a/b;\n c=d"}, "datacontenttype"),
        ({"dataschema": "schemas/a.json"}, "dataschema"),
        ({"dataschema": "https://example.com/a#b"}, "dataschema"),
        ({"extensions": (("Unit", "x"),)}, "Unit"),
        ({"extensions": (("my-unit", "x"),)}, "my-unit"),
        ({"extensions": (("unit\n", "x"),)}, "unit"),
        ({"extensions": (("data", "x"),)}, "data"),
        ({"extensions": (("unit", "x"), ("unit", "y"))}, "unit"),
        ({"extensions": (("unit", 2**31),)}, "unit"),
        ({"extensions": (("unit", ""),)}, "unit"),
    ],
)
def test_each_broken_rule_is_named(change: dict[str, object], named: str) -> None:
    event = replace(LEGAL, **change)  # type: ignore[arg-type]
    [problem] = violations(event)
    assert named in problem


def test_create_refuses_an_illegal_event_and_names_every_mistake() -> None:
    with pytest.raises(ValueError, match=r"(?s)id.*source"):
        Event.create(id="", source="a b", type="t")


def test_an_event_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        LEGAL.id = "2"  # type: ignore[misc]


def test_attributes_are_what_is_set_and_nothing_else() -> None:
    event = replace(LEGAL, extensions=(("sequence", "1"), ("flag", False)))
    assert dict(event.attributes()) == {
        "specversion": "1.0",
        "id": "1",
        "source": "urn:gw/boiler",
        "type": "com.example.reading",
        "time": "2026-11-23T10:00:00.5Z",
        "sequence": "1",
        "flag": False,
    }


@given(st.integers(0, 253402300799_999_999_999))
def test_timestamps_are_rfc_3339_and_keep_their_microseconds(wall_ns: int) -> None:
    text = timestamp(wall_ns)
    assert is_timestamp(text)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(wall_ns // 10**9, UTC).replace(
        microsecond=wall_ns % 10**9 // 1000
    )
