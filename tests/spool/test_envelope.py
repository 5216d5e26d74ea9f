import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import Moment
from bridge.event import Event
from bridge.ports import Receipt
from bridge.spool.envelope import (
    CursorState,
    DeadLetter,
    State,
    Stored,
    pack_dead_letter,
    pack_event,
    pack_marks,
    pack_state,
    unpack_dead_letter,
    unpack_event,
    unpack_marks,
    unpack_state,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
MAYBE = st.none() | TEXT
EVENTS = st.builds(
    Event,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    time=MAYBE,
    subject=MAYBE,
    datacontenttype=MAYBE,
    dataschema=MAYBE,
    extensions=st.lists(st.tuples(TEXT, TEXT | st.integers(-5, 5) | st.booleans()), max_size=3).map(tuple),
    data=st.none() | st.binary(max_size=20),
)
MOMENTS = st.builds(Moment, st.integers(0, 2**62), st.integers(0, 2**62), st.booleans())
RECEIPTS = st.none() | st.builds(Receipt, st.integers(0, 65535), st.integers(0, 2**32 - 1))


@given(EVENTS, TEXT, MOMENTS, RECEIPTS)
def test_an_event_keeps_every_byte(event: Event, source: str, received: Moment, receipt: Receipt | None) -> None:
    packed = pack_event(event, source, received, b"12345678", receipt)
    assert unpack_event(packed) == Stored(event, source, received, b"12345678", receipt)


@given(EVENTS | st.none(), st.binary(max_size=20) | st.none(), st.integers(1, 9))
def test_a_dead_letter_keeps_every_byte(event: Event | None, frame: bytes | None, tries: int) -> None:
    letter = DeadLetter("why", "sink cloud", tries, 1, 2, "amqps://host", event, frame)
    assert unpack_dead_letter(pack_dead_letter(letter)) == letter


def test_an_event_for_one_sink_names_it() -> None:
    packed = pack_event(Event("1", "/a", "t"), "s", Moment(1, 2, True), b"12345678", None, only="cloud")
    assert unpack_event(packed).only == "cloud"


def test_a_dead_letter_says_where_it_came_from() -> None:
    letter = DeadLetter("why", "source a", 1, 1, 2, "t/a", None, b"x", "alarms", {"topic": "t/a"}, "text/plain")
    assert unpack_dead_letter(pack_dead_letter(letter)) == letter


def test_a_dead_letter_of_the_first_version_can_be_read() -> None:
    old = msgpack.packb([1, "why", "source a", 1, 1, 2, "t/a", None, b"x"])
    assert unpack_dead_letter(old) == DeadLetter("why", "source a", 1, 1, 2, "t/a", None, b"x")


def test_a_state_comes_back() -> None:
    state = State(5, {"cloud": CursorState(7, ((9, 11), (20, 21)))}, {"n": 3}, True)
    assert unpack_state(pack_state(state)) == state
    assert unpack_marks(pack_marks({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("unpack", [unpack_event, unpack_dead_letter, unpack_state, unpack_marks])
@given(data=st.data())
def test_what_is_malformed_is_a_value_error(unpack: object, data: st.DataObject) -> None:
    simple = st.sampled_from(
        [None, True, -1, "x", b"x", [], ["x"], [["x", 1]], {}, {"x": [1, [[2, 3]]]}, {1: "x"}]
    )
    fields = data.draw(st.lists(simple, max_size=17))
    version = data.draw(st.sampled_from((1, 2)))
    payload = data.draw(st.binary(max_size=30) | st.just(msgpack.packb([version, *fields])))
    assert callable(unpack)
    try:
        unpack(payload)
    except ValueError:
        return


def test_every_truncation_of_an_event_is_a_value_error() -> None:
    packed = pack_event(Event("1", "/a", "t", data=b"x"), "s", Moment(1, 2, True), b"12345678", Receipt(1, 2))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="no event"):
            unpack_event(packed[:size])


def test_a_later_version_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="version 2"):
        unpack_event(msgpack.packb([3, "x"]))
