import pytest
from pydantic import ValidationError

from bridge.codec.settings import DelimitedFraming, EventSettings, JsonDecoding


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "com.example.reading"},
        {"type": "com.example.{kind}.measured", "source": "urn:dev:{mac}", "subject": "{a.b} é"},
        {"type": "t", "dataschema": "https://example.com/{kind}.json"},
        {"type": "t", "dataschema": "{schema}"},
        {"type": "t", "extensions": {"partitionkey": "{device}", "severity2": "high"}},
    ],
)
def test_what_can_become_legal_is_accepted(settings: dict[str, object]) -> None:
    EventSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "place", "reason"),
    [
        ({"type": ""}, "type", "at least 1"),
        ({"type": "a{"}, "type", "'{' without '}' at character 2"),
        ({"type": "a\n"}, "type", "control character"),
        ({"type": "t", "source": "a b/{device}"}, "source", "no URI-reference"),
        ({"type": "t", "subject": "{t:.1f}"}, "subject", "formats are not supported"),
        ({"type": "t", "dataschema": "boiler.json"}, "dataschema", "no absolute URI"),
        ({"type": "t", "dataschema": "https://example.com/a#b"}, "dataschema", "without a fragment"),
        ({"type": "t", "extensions": {"partition-key": "x"}}, "extensions", "lower-case letters and digits"),
        ({"type": "t", "extensions": {"time": "x"}}, "extensions", "belongs to the specification"),
        ({"type": "t", "extensions": {"sequence": "x"}}, "extensions", "edge-bridge sets it itself"),
        ({"type": "t", "extensions": {"a": "", "b": "{"}}, "extensions", "a: is empty; b: '{' without"),
    ],
)
def test_what_can_never_become_legal_is_refused_where_it_stands(
    settings: dict[str, object], place: str, reason: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        EventSettings.model_validate(settings)
    (error,) = caught.value.errors()
    assert error["loc"] == (place,)
    assert reason in error["msg"]


def test_the_defaults_are_lines_of_json() -> None:
    assert DelimitedFraming().build().feed(b'{"t":1}\r\n') == [b'{"t":1}']
    assert JsonDecoding().kind == "json"
