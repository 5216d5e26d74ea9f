from dataclasses import replace

import pytest
from hypothesis import given

import bridge.codec.sdk_check
from bridge.codec.sdk_check import verify
from bridge.event import Event
from bridge.wire.json_format import encode
from tests.kit.events import events, json_data

EVENT = Event.create(
    id="1",
    source="/boiler",
    type="com.example.reading",
    time="2026-11-23T21:31:36.123456Z",
    datacontenttype="application/json",
    extensions=(("sequence", "00000000000000000001"),),
    data=b'{"t":21.50}',
)


def test_an_event_of_ours_is_read_back_equal() -> None:
    verify(EVENT)


@given(events(), json_data)
def test_any_legal_event_with_json_data_is_read_back_equal(event: Event, data: bytes) -> None:
    # The SDK invents a time where there is none.
    verify(replace(event, datacontenttype="application/json", data=data, time=event.time or EVENT.time))


@pytest.mark.parametrize(
    ("was", "becomes", "reason"),
    [
        (b'"/boiler"', b'"/other"', "source is '/other' instead of '/boiler'"),
        (b"21.50", b"21.51", "the data is"),
        (b"21:31", b"21:32", "time is"),
        (b'"type"', b'"typo"', "refuses"),
        (b"}", b"", "cannot read"),
    ],
)
def test_a_difference_is_told(was: bytes, becomes: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.codec.sdk_check, "encode", lambda event: encode(event).replace(was, becomes))
    with pytest.raises(ValueError, match="CloudEvents SDK") as caught:
        verify(EVENT)
    assert reason in str(caught.value)
