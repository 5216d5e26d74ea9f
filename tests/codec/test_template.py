import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.codec.template import Template
from bridge.errors import DecodeError


@pytest.mark.parametrize(
    ("text", "names", "rendered"),
    [
        ("", set(), ""),
        ("boiler", set(), "boiler"),
        ("{device}", {"device"}, "b7"),
        ("plant/{device}/x", {"device"}, "plant/b7/x"),
        ("{device}{device}-{n}", {"device", "n"}, "b7b7-7"),
        ("{{{device}}}", {"device"}, "{b7}"),
        ("{{device}}", set(), "{device}"),
        ("{site.area.id}", {"site.area.id"}, "north"),
        ("{with.dot}", {"with.dot"}, "whole name"),
        ("{Temp °C}", {"Temp °C"}, "21.5"),
    ],
)
def test_values_take_the_place_of_names(text: str, names: set[str], rendered: str) -> None:
    template = Template(text)
    assert template.names == names
    fields = {
        "device": "b7",
        "n": 7,
        "site": {"area": {"id": "north"}},
        "with.dot": "whole name",
        "with": {"dot": "path"},
        "Temp °C": 21.50,
    }
    assert template.render(fields) == rendered


@given(st.text())
def test_escaped_text_renders_to_itself(text: str) -> None:
    template = Template(text.replace("{", "{{").replace("}", "}}"))
    assert template.constant == text
    assert template.render() == text


@given(st.text("{}ab.: \n"))
def test_any_text_is_a_template_or_refused_with_a_reason(text: str) -> None:
    try:
        template = Template(text)
    except ValueError as error:
        reason = str(error)
    else:
        reason = "at character"
        template.render(dict.fromkeys(template.names, "x"))
    assert "character" in reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a{", "'{' without '}' at character 2"),
        ("a}", "'}' without '{' at character 2"),
        ("{}", "a name is expected"),
        ("{ a }", "without spaces"),
        ("{a..b}", "a name is expected"),
        ("{a{b}}", "within"),
        ("{t:.2f}", "formats are not supported"),
        ("{t!r}", "formats are not supported"),
        ("{{{a}}", "'}' without '{' at character 6"),
    ],
)
def test_bad_syntax_is_refused_with_reason_and_place(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="character") as caught:
        Template(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (0, "0"), (2**70, str(2**70)), (21.50, "21.5"), ("", "")]
)
def test_scalars_are_written_as_json_writes_them(value: object, text: str) -> None:
    assert Template("{v}").render({"v": value}) == text
    assert Template("<{v}>").render({"v": value}) == f"<{text}>"


@pytest.mark.parametrize(
    ("value", "kind"), [(None, "null"), ({}, "an object"), ([1], "an array"), (float("inf"), "too large")]
)
def test_what_cannot_be_written_is_named(value: object, kind: str) -> None:
    with pytest.raises(DecodeError, match=rf"\{{v\}} is {kind}"):
        Template("{v}").render({"v": value})


@pytest.mark.parametrize("fields", [{}, {"a": 1}, {"a": {"c": 1}}, {"a": [1]}, {"b": 1}])
def test_a_missing_value_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(DecodeError, match=r"no value for \{a\.b\}"):
        Template("x{a.b}").render(fields)


def test_the_first_lookup_that_has_a_name_wins() -> None:
    assert Template("{a}{b}").render({"a": "1"}, {"a": "2", "b": "3"}) == "13"
    with pytest.raises(DecodeError):
        Template("{a}").render({"a": None}, {"a": "2"})


def test_values_can_be_quoted_and_literals_are_not() -> None:
    rendered = Template("a b/{x}/{y}").render({"x": "1", "y": 2}, quote=lambda name, value: f"<{name}={value}>")
    assert rendered == "a b/<x=1>/<y=2>"


def test_what_stands_before_the_first_name_is_known() -> None:
    assert Template("urn:dev:{mac}").head == "urn:dev:"
    assert Template("{mac}").head == ""
    assert Template("{{a}}").head == "{a}"
