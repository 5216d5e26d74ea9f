"""Whatever pydantic may find, people get a sentence that holds no value."""

from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails
from pydantic_core.core_schema import ErrorType

from bridge.config.problems import EXPECTED, RULES, kind_of, problems

CONTEXT: dict[str, object] = {
    "gt": 1, "ge": 1, "lt": 1, "le": 1, "multiple_of": 2, "min_length": 2, "max_length": 3, "actual_length": 5,
    "field_type": "List", "pattern": "a+", "expected_schemes": "'https'", "error": ValueError("why"),
    "expected": "'a' or 'b'", "discriminator": "'kind'", "tag": "c", "expected_tags": "'a'", "class_name": "A",
    "expected_version": 4, "tz_expected": 0, "tz_actual": 1, "attribute": "a", "method_name": "m", "class": "A",
    "whole_digits": 1, "decimal_places": 1, "max_digits": 1, "encoding": "utf-8", "encoding_error": "why",
}  # fmt: skip


class Any(BaseModel):
    """A model with one key."""

    key: object = None


def sentence(kind: str) -> str:
    context = CONTEXT if kind in {"value_error", "assertion_error"} else CONTEXT | {"error": "why"}
    details = InitErrorDetails(type=kind, loc=("key",), input="hunter2", ctx=context)
    error = ValidationError.from_exception_data("x", [details])
    (problem,) = problems(error, Any, {"key": "hunter2"}, ("sinks", "cloud"))
    assert problem.path in {"sinks.cloud.key", "sinks.cloud.key.kind"}
    return problem.message


@pytest.mark.parametrize("kind", [kind for kind in get_args(ErrorType) if kind in {*EXPECTED, *RULES}])
def test_known_errors_get_a_whole_sentence(kind: str) -> None:
    said = sentence(kind)
    assert said.startswith(("must", "is ", "has ", "names "))
    assert "{" not in said
    assert "hunter2" not in said


@pytest.mark.parametrize("kind", [kind for kind in get_args(ErrorType) if kind not in {*EXPECTED, *RULES}])
def test_other_errors_get_words_and_no_value(kind: str) -> None:
    said = sentence(kind)
    assert said
    assert "hunter2" not in said
    assert "Input should be" not in said


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        ("x", "text"),
        (1, "a whole number"),
        (1.5, "a number with a fraction"),
        ([], "a list"),
        ({}, "a table"),
    ],
)
def test_values_are_named_by_kind(value: object, words: str) -> None:
    assert kind_of(value) == words
