"""Every kind of legal event, for property tests."""

import json
from datetime import UTC, timedelta, timezone

from hypothesis import strategies as st

from bridge.event import CORE_NAMES, INT32, Event, violations


def _printable(text: str) -> bool:
    return not list(violations(Event(id=text, source="s", type="t")))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(_printable)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(lambda name: name not in CORE_NAMES)
values = texts | st.integers(INT32.start, INT32.stop - 1) | st.booleans()
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(timezones=st.just(UTC) | offsets).map(
    lambda moment: moment.isoformat().replace("+00:00", "Z")
)
uris = st.from_regex(r"(https://[a-z0-9.\-]{1,20}|urn:[a-z]{2,8}:)[A-Za-z0-9/_~.%]{0,20}", fullmatch=True).filter(
    lambda uri: not list(violations(Event(id="i", source=uri, type="t", dataschema=uri)))
)
json_types = st.sampled_from(
    [
        "application/json",
        "application/JSON; charset=UTF-8",
        "text/json",
        "application/senml+json",
        'a/b+json;q="x"',
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
json_data = json_values.flatmap(
    lambda value: st.sampled_from(
        [
            json.dumps(value, ensure_ascii=True).encode(),
            json.dumps(value, indent=2, ensure_ascii=True).encode(),
        ]
    )
)
contents = st.one_of(
    st.tuples(st.none() | json_types | texts.map(lambda _: "text/plain"), st.none()),
    st.tuples(json_types, json_data),
    st.tuples(
        st.sampled_from(["text/plain", "text/csv; charset=utf-8"]),
        st.text(st.characters(codec="utf-8")).map(str.encode) | st.binary(),
    ),
    st.tuples(
        st.sampled_from([None, "application/octet-stream", "image/png", "text/plain; charset=latin-1"]),
        st.binary(),
    ),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A legal event, checked by ``Event.create``."""
    datacontenttype, data = draw(contents)
    extensions = draw(st.dictionaries(names, values, max_size=5))
    return Event.create(
        id=draw(texts),
        source=draw(uris),
        type=draw(texts),
        time=draw(st.none() | times),
        subject=draw(st.none() | texts),
        datacontenttype=datacontenttype,
        dataschema=draw(st.none() | uris),
        extensions=tuple(extensions.items()),
        data=data,
    )
