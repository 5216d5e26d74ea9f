import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import Moment
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.minting import Minter, new_instance
from bridge.codec.sdk_check import verify
from bridge.codec.settings import EventSettings
from bridge.errors import DecodeError
from bridge.event import Event, violations
from bridge.ports import Frame, Reading
from tests.kit.events import json_values

MOMENT = Moment(wall_ns=1_795_469_496_123_456_789, boot_ns=5, synchronised=True)
TIME = "2026-11-23T21:31:36.123456Z"
PREFIX = "https://example.com/gateways/gw03"


def minter(name: str = "boiler", prefix: str = PREFIX, **settings: object) -> Minter:
    chosen = EventSettings.model_validate({"type": "com.example.reading", **settings})
    return Minter(chosen, prefix=prefix, name=name, gateway_id="gw03", instance="0instance")


def minted(of: Minter, payload: bytes = b"{}", captures: Mapping[str, str] | None = None) -> Event:
    frame = Frame(payload, MOMENT, "origin", captures or {})
    (reading,) = JsonDecoder().decode(frame)
    return of.mint(frame, reading, lambda _: 42)


def _asked(sources: list[str]) -> Callable[[str], int | None]:
    def number(source: str) -> None:
        sources.append(source)

    return number


def test_an_event_carries_every_attribute_that_the_settings_ask_for() -> None:
    of = minter(
        subject="{device}",
        dataschema="https://example.com/{kind}.json",
        extensions={"partitionkey": "{device}", "site": "north", "by": "{source}@{gateway}"},
    )
    payload = b'{"device":"b7","kind":"boiler","t":21.50}'
    assert minted(of, payload) == Event(
        id="0instance-boiler-1",
        source=f"{PREFIX}/boiler",
        type="com.example.reading",
        time=TIME,
        subject="b7",
        datacontenttype="application/json",
        dataschema="https://example.com/boiler.json",
        extensions=(
            ("partitionkey", "b7"),
            ("site", "north"),
            ("by", "boiler@gw03"),
            ("recordedtime", TIME),
            ("sequence", "00000000000000000042"),
        ),
        data=payload,
    )


def test_time_and_recordedtime_are_the_moment_of_the_frame_in_utc() -> None:
    event = minted(minter())
    assert event.time == TIME
    assert dict(event.extensions)["recordedtime"] == event.time


def test_no_two_events_share_an_id_within_a_source_nor_between_sources_nor_starts() -> None:
    names = ["a", "a-1", "a-1-1", "b"]
    of = [minter(name=name) for name in names]
    ids = [minted(each).id for _ in range(20) for each in of]
    assert len(set(ids)) == len(ids)
    assert len({new_instance() for _ in range(1000)}) == 1000


def test_an_instance_is_short_plain_and_grows_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    instances = []
    for milliseconds in (0, 1, 31, 32, 1_795_469_496_123, 2**48 - 1):
        monkeypatch.setattr("time.time_ns", lambda ms=milliseconds: ms * 1_000_000)
        instances.append(new_instance())
    assert instances == sorted(instances)
    assert {len(instance) for instance in instances} == {26}
    assert set("".join(instances)) <= set("0123456789abcdefghijklmnopqrstuv")


def test_a_clone_that_starts_at_the_same_instant_has_another_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 0)
    one, other = new_instance(), new_instance()
    assert one[:10] == other[:10]
    assert one[10:] != other[10:]


@pytest.mark.parametrize(
    ("template", "captures", "source"),
    [
        (None, {}, f"{PREFIX}/boiler"),
        ("fixed/one", {}, f"{PREFIX}/fixed/one"),
        ("{device}", {"device": "b 7/ä"}, f"{PREFIX}/b%207%2F%C3%A4"),
        ("d/{device}", {"device": "x#?"}, f"{PREFIX}/d/x%23%3F"),
        ("{topic}", {"topic": "plants/7/b 1"}, f"{PREFIX}/plants/7/b%201"),
        ("urn:dev:mac:{mac}", {"mac": "00:1a"}, "urn:dev:mac:00%3A1a"),
        ("https://other.example/{source}", {}, "https://other.example/boiler"),
    ],
)
def test_a_source_is_appended_to_the_gateways_unless_it_is_absolute(
    template: str | None, captures: dict[str, str], source: str
) -> None:
    assert minted(minter(source=template), captures=captures).source == source


def test_different_devices_never_share_a_source_because_of_slashes() -> None:
    of = minter(source="{a}/{b}")
    assert minted(of, captures={"a": "x/y", "b": "z"}).source != minted(of, captures={"a": "x", "b": "y/z"}).source


def test_a_name_that_is_no_uri_is_encoded() -> None:
    event = minted(minter(name="Öl & Gas"))
    assert event.source == f"{PREFIX}/%C3%96l%20%26%20Gas"
    assert list(violations(event)) == []


def test_a_slash_at_the_end_of_the_prefix_is_not_doubled() -> None:
    assert minted(minter(prefix="https://example.com/")).source == "https://example.com/boiler"


def test_captures_come_before_own_names_and_these_before_fields() -> None:
    of = minter(subject="{device} {source} {gateway} {unit}")
    payload = b'{"device":"field","source":"field","gateway":"field","unit":"C"}'
    assert minted(of, payload, {"device": "topic"}).subject == "topic boiler gw03 C"
    assert minted(of, payload, {"source": "topic"}).subject == "field topic gw03 C"


@pytest.mark.parametrize(
    ("settings", "payload", "reason"),
    [
        ({"subject": "{device}"}, b"{}", r"subject: there is no value for \{device\}"),
        ({"subject": "{device}"}, b"[1]", r"subject: there is no value for \{device\}"),
        ({"subject": "{device}"}, b'{"device":""}', "subject: is empty"),
        ({"subject": "{device}"}, b'{"device":null}', r"subject: the value for \{device\} is null"),
        ({"type": "com.{device}"}, b'{"device":"a\\nb"}', "type: .* control character"),
        ({"subject": "{device}"}, b'{"device":"\\ud800"}', "subject: .* surrogate"),
        ({"source": "{device}"}, b'{"device":"\\ud800"}', "source: .* surrogate"),
        ({"source": "{device}"}, b'{"device":""}', "source: .* empty"),
        ({"dataschema": "{schema}"}, b'{"schema":"relative"}', "dataschema: .* no absolute URI"),
        ({"extensions": {"key": "{device}"}}, b'{"device":{}}', "key: .* an object"),
    ],
)
def test_a_reading_that_makes_no_legal_event_is_refused_and_takes_no_number(
    settings: dict[str, Any], payload: bytes, reason: str
) -> None:
    frame = Frame(payload, MOMENT, "origin")
    (reading,) = JsonDecoder().decode(frame)
    asked: list[str] = []
    with pytest.raises(DecodeError, match=reason):
        minter(**settings).mint(frame, reading, _asked(asked))
    assert asked == []


def test_the_sequence_is_asked_for_the_source_of_the_event_and_left_out_when_there_is_none() -> None:
    of = minter(source="{device}")
    frame = Frame(b"1", MOMENT, "origin", {"device": "b7"})
    asked: list[str] = []
    event = of.mint(frame, Reading(b"1", "application/json"), _asked(asked))
    assert asked == [f"{PREFIX}/b7"]
    assert [name for name, _ in event.extensions] == ["recordedtime"]


texts = st.dictionaries(st.sampled_from(["device", "a", "kind"]), json_values)


@given(texts, st.text(max_size=20))
def test_whatever_a_reading_holds_it_becomes_a_legal_event_or_a_decode_error(
    fields: dict[str, object], topic: str
) -> None:
    of = minter(
        type="com.example.{kind}",
        source="{device}/{topic}",
        subject="{a.b}{topic}",
        extensions={"partitionkey": "{device}"},
    )
    data = json.dumps(fields).encode()
    try:
        event = of.mint(Frame(data, MOMENT, "o", {"topic": topic}), Reading(data, "application/json", fields), len)
    except DecodeError:
        return
    assert list(violations(event)) == []


def test_a_constant_that_can_never_be_legal_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"source: .* no URI-reference"):
        minter(prefix="has space")


def test_the_sample_is_legal_and_the_sdk_reads_it_back() -> None:
    of = minter(
        type="com.example.{kind}",
        source="{device}",
        subject="{site.area} {port}",
        dataschema="https://example.com/{kind}",
        extensions={"partitionkey": "{device}"},
    )
    event = of.sample({"port": "/dev/ttyUSB0"})
    assert list(violations(event)) == []
    assert event.subject == "area /dev/ttyUSB0"
    assert event.data == b'{"device":"device","kind":"kind","site":{"area":"area"}}'
    verify(event)


def test_a_sample_that_cannot_be_legal_says_why() -> None:
    with pytest.raises(ValueError, match="dataschema"):
        minter(dataschema="{schema}").sample({})
