"""Hypothesis strategies over legal CloudEvents."""

import json

from hypothesis import strategies as st

from bridge.event import CORE_NAMES, INT32, Event, ExtensionValue, timestamp

_NONCHARACTERS = {(plane << 16) + low for plane in range(17) for low in (0xFFFE, 0xFFFF)} | set(
    range(0xFDD0, 0xFDF0)
)

texts = st.text(
    st.characters(blacklist_categories=("Cc", "Cs")).filter(lambda c: ord(c) not in _NONCHARACTERS),
    min_size=1,
    max_size=40,
)
"""CloudEvents String, non-empty."""

sources = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=", min_size=1, max_size=40)
"""URI-references without percent-encoding."""

timestamps = st.integers(0, 4_000_000_000_000_000_000).map(timestamp)

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in CORE_NAMES
)
values: st.SearchStrategy[ExtensionValue] = st.one_of(
    texts, st.integers(INT32.start, INT32.stop - 1), st.booleans()
)

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda children: st.one_of(st.lists(children, max_size=4), st.dictionaries(texts, children, max_size=4)),
    max_leaves=8,
)

payloads = st.one_of(
    st.tuples(st.just("application/json"), json_values.map(lambda value: json.dumps(value).encode())),
    st.tuples(st.just("text/plain"), texts.map(str.encode)),
    st.tuples(st.just("application/octet-stream"), st.binary(max_size=64)),
    st.tuples(st.none(), st.none()),
)
"""Pairs of media type and data."""


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Legal events of every shape."""
    contenttype, data = draw(payloads)
    return Event.create(
        id=draw(texts),
        source=draw(sources),
        type=draw(texts),
        time=draw(st.none() | timestamps),
        subject=draw(st.none() | texts),
        datacontenttype=contenttype,
        dataschema=draw(st.none() | st.just("https://example.com/schemas/boiler.json")),
        extensions=tuple(draw(st.dictionaries(names, values, max_size=4)).items()),
        data=data,
    )
