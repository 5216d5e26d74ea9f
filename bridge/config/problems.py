"""What pydantic found wrong, as sentences for people.

Each names the path as it stands in the file, what was expected, and how to go on. No sentence holds a value
from the file, except words of a fixed choice.
"""

import difflib
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.config.files import Tree, dotted
from bridge.errors import Problem

EXPECTED: Mapping[str, str] = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of reasonable size",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "bytes_type": "text",
    "path_type": "a path, written as text",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "deque_type": "a list",
    "dict_type": "a table",
    "mapping_type": "a table",
    "frozen_dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dataclass_type": "a table",
    "url_type": "a URL, written as text",
    "uuid_type": "a UUID, written as text",
    "uuid_parsing": "a UUID, such as 123e4567-e89b-12d3-a456-426614174000",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "date_type": "a date",
    "date_parsing": "a date, such as 2026-01-31",
    "time_type": "a time of day",
    "time_parsing": "a time of day, such as 07:30:00",
    "datetime_type": "a date and time",
    "datetime_parsing": "a date and time, such as 2026-01-31T07:30:00Z",
    "time_delta_type": "a duration",
    "time_delta_parsing": "a duration",
    "is_instance_of": "a value of another kind",
}
"""Error type → what the value must be; ``, not KIND`` follows."""

RULES: Mapping[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has characters or a form that is not allowed; it must match {pattern}",
    "string_unicode": "must be valid Unicode text",
    "string_not_ascii": "must be ASCII text, without accents and the like",
    "bytes_too_short": "must have at least {min_length} bytes",
    "bytes_too_long": "must have at most {max_length} bytes",
    "too_short": "must have at least {min_length} entries, has {actual_length}",
    "too_long": "must have at most {max_length} entries, has {actual_length}",
    "none_required": "must be left out",
    "url_parsing": "is no valid URL",
    "url_syntax_violation": "is no valid URL",
    "url_too_long": "must be a URL of at most {max_length} characters",
    "url_scheme": "must be a URL that starts with one of {expected_schemes}",
    "path_not_file": "names no file",
    "path_not_directory": "names no directory",
    "path_exists": "names something that exists already",
    "invalid_key": "has a key that is no text",
}
"""Error type → the rule, filled with the error's context."""

SECRETS = frozenset(
    {
        "password", "passwd", "passphrase", "pass", "secret", "token", "bearer", "bearer_token", "access_token",
        "api_key", "apikey", "client_secret", "private_key", "key_password", "credentials",
    }
)  # fmt: skip
"""Keys that people expect, and that do not exist, because a secret has no place in the file."""

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """One error: where it stands in the file, its type, and its sentence or what was expected."""

    path: Loc
    sentence: str
    expected: str | None
    value: object


def problems(
    error: ValidationError, model: type[BaseModel], table: Tree, at: tuple[str, ...]
) -> Iterator[Problem]:
    """Every mistake in ``table``, which stands at ``at`` in the file and should have been a ``model``."""
    found = [_found(detail, model, table) for detail in error.errors(include_input=False, include_url=False)]
    paths = {one.path for one in found}
    done: set[Loc] = set()
    for one in found:
        if one.expected is None:
            yield Problem(dotted((*at, *one.path)), one.sentence)
        elif one.path not in done and not any(_below(path, one.path) for path in paths):
            # Each branch of a union complains; they are one sentence.
            done.add(one.path)
            wanted = dict.fromkeys(same.expected for same in found if same.path == one.path and same.expected)
            yield Problem(dotted((*at, *one.path)), _must_be(list(wanted), one.value))


def kind_of(value: object) -> str:
    """The kind of a TOML value in words, never the value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (str, "text"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (list, "a list"),
        (dict, "a table"),
        (datetime, "a date and time"),
        (date, "a date"),
        (time, "a time of day"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "something else")


def suggestion(word: object, known: Collection[str]) -> str:
    """``; did you mean "x"?`` when a known word is near, else the known words, if they are few."""
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6) if isinstance(word, str) else []
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known here: {', '.join(sorted(known))}" if 0 < len(known) <= 30 else ""


def is_secret(key: str) -> bool:
    """Whether people would expect a secret in a key of that name."""
    return key.lower().replace("-", "_") in SECRETS


def _found(detail: ErrorDetails, model: type[BaseModel], table: Tree) -> _Found:
    kind, context = detail["type"], detail.get("ctx", {})
    path, value = _locate(detail["loc"], kind, table)
    if kind == "missing":
        return _Found(path, _missing(model, detail["loc"]), None, value)
    if kind == "extra_forbidden":
        known = sorted({name for one in _models(model, detail["loc"][:-1]) for name in _keys(one)})
        return _Found(path, unknown_key(str(detail["loc"][-1]), known), None, value)
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        key = str(context.get("discriminator", "kind")).strip("'")
        choices = sorted(set(_tags(_models(model, detail["loc"]), key)))
        word = value.get(key) if isinstance(value, dict) else None
        return _Found((*path, key), _choice(choices, word, missing=kind == "union_tag_not_found"), None, word)
    if kind in {"literal_error", "enum"}:
        return _Found(path, "", "one of " + str(context.get("expected", "")).replace("'", '"'), value)
    if kind in {"value_error", "assertion_error"}:
        return _Found(path, str(context.get("error", "")) or "cannot be used", None, value)
    if kind in EXPECTED:
        return _Found(path, "", EXPECTED[kind], value)
    if kind in {"string_too_short", "too_short"} and context.get("min_length") == 1:
        return _Found(path, "must not be empty", None, value)
    if kind in RULES:
        return _Found(path, RULES[kind].format_map(_Facts(context)), None, value)
    return _Found(path, detail["msg"].replace("Input should be", "must be", 1), None, value)


class _Facts(dict[str, object]):
    """The context of an error: whole numbers without a fraction, and no failure for what is not there."""

    def __getitem__(self, key: str) -> object:
        value = self.get(key, "…")
        return int(value) if isinstance(value, float) and value.is_integer() else value


def unknown_key(key: str, known: Collection[str]) -> str:
    """The sentence for a key that does not exist."""
    if is_secret(key):
        file = f"{key}_file"
        named = f"name it with {file}" if file in known else _secret_files(known)
        return f"a secret is never written here; write it into a file that only the service can read, and {named}"
    return f"is no known key{suggestion(key, known)}"


def _secret_files(known: Collection[str]) -> str:
    files = sorted(name for name in known if name.endswith("_file"))
    return f"name the file with one of {', '.join(files)}" if files else "see the reference for where to name it"


def _must_be(wanted: list[str], value: object) -> str:
    sentence = "must be " + " or ".join(wanted)
    words = [word.strip(' "') for choice in wanted if choice.startswith("one of ") for word in _words(choice)]
    if isinstance(value, str) and words:
        near = difflib.get_close_matches(value.lower(), words, n=1, cutoff=0.6)
        return sentence + (f'; did you mean "{near[0]}"?' if near else "")
    if words and isinstance(value, int) and not isinstance(value, bool):
        return sentence
    return f"{sentence}, not {kind_of(value)}"


def _words(choice: str) -> list[str]:
    return choice.removeprefix("one of ").replace(" or ", ", ").split(", ")


def _choice(choices: list[str], word: object, *, missing: bool) -> str:
    listed = ", ".join(f'"{choice}"' for choice in choices)
    if missing:
        return f"is missing; it must be one of {listed}"
    return _must_be([f"one of {listed}"], word)


def _missing(model: type[BaseModel], loc: Loc) -> str:
    for one in _models(model, loc[:-1]):
        field = one.model_fields.get(str(loc[-1]))
        if field is not None and field.description:
            meaning = " ".join(field.description.split()).partition(". ")[0].rstrip(".")
            return f"is missing: {meaning}"
    return "is missing"


def _locate(loc: Loc, kind: str, table: Tree) -> tuple[Loc, object]:
    """The path without the labels that pydantic puts in for branches of unions, and the value there, if any."""
    path: list[str | int] = []
    value: object = table
    for index, part in enumerate(loc):
        inside: Mapping[str | int, object] = {}
        if isinstance(value, dict):
            inside = value
        elif isinstance(value, list):
            inside = dict(enumerate(value))
        if part in inside:
            value = inside[part]
        elif kind == "missing" and index == len(loc) - 1:
            value = None
        else:
            continue
        path.append(part)
    return tuple(path), value


def _below(path: Loc, parent: Loc) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent


# --- which models may stand at a place --------------------------------------------------------------------


def _models(model: type[BaseModel], loc: Loc) -> list[type[BaseModel]]:
    current = [model]
    for part in loc:
        fields = [one.model_fields[part].annotation for one in current if part in one.model_fields]
        if fields:
            current = [below for annotation in fields for below in models_in(annotation)]
        else:
            # The label of a branch: the tag of a discriminated union, or the name of the model.
            current = [one for one in current if part in _labels(one)] or current
    return current


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Every settings class that a field with this annotation may hold."""
    # Some generic aliases look like types and are none.
    if (
        isinstance(annotation, type)
        and typing.get_origin(annotation) is None
        and issubclass(annotation, BaseModel)
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def _labels(model: type[BaseModel]) -> set[object]:
    return {model.__name__, *_tags([model], "kind")}


def _tags(models: Collection[type[BaseModel]], key: str) -> Iterator[str]:
    for model in models:
        field = model.model_fields.get(key)
        for word in typing.get_args(field.annotation) if field is not None else ():
            yield str(word)


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
