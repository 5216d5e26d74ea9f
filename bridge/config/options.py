"""Every option of a settings class, in words: what the sample and the reference are written from."""

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bridge.config.files import dotted
from bridge.config.problems import models_in
from bridge.config.schema import UNIT, Generator

_PLAIN = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
_DURATIONS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))

Node = Mapping[str, Any]
"""A piece of JSON schema."""


@dataclass(frozen=True, slots=True)
class Option:
    """One key of a table.

    Attributes:
        name: the key.
        kind: what it takes, in words.
        required: whether it must be written.
        default: its default as TOML, or None when it has none.
        example: a value as TOML, or None when the code gives none.
        meaning: what it is for, one paragraph.
        tables: the settings classes of the tables that may stand there.
        many: whether any number of these tables may stand there.
    """

    name: str
    kind: str
    required: bool
    default: str | None
    example: str | None
    meaning: str
    tables: tuple[type[BaseModel], ...]
    many: bool = False


def options(model: type[BaseModel]) -> list[Option]:
    """The options of a table, but for ``kind``: those it must have, those it may have, the tables in it."""
    whole = model.model_json_schema(schema_generator=Generator)
    found = [
        _option(name, field, whole["properties"][name])
        for name, field in model.model_fields.items()
        if name != "kind"
    ]
    return sorted(found, key=lambda option: (bool(option.tables), not option.required))


def kind_name(model: type[BaseModel]) -> str | None:
    """The word by which a configuration asks for this class, if it is one of several."""
    field = model.model_fields.get("kind")
    return None if field is None or field.default is PydanticUndefined else str(field.default)


def summary(model: type[BaseModel]) -> str:
    """The docstring of a settings class as Markdown paragraphs."""
    return prose(inspect.getdoc(model) or "")


def prose(text: str) -> str:
    """Documentation as plain paragraphs, one line each, with Markdown's backticks."""
    paragraphs = re.split(r"\n\s*\n", text.replace("``", "`"))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def toml(value: object) -> str:
    """A plain value as TOML; of text, numbers, lists and tables JSON's form is TOML's, too."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{dotted((key,))} = {toml(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # The one character that JSON may hold as it is and TOML may not.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _option(name: str, field: FieldInfo, node: Node) -> Option:
    tables = tuple(models_in(field.annotation))
    default = node.get("default")
    examples = node.get("examples") or []
    return Option(
        name=field.alias or name,
        kind="table" if tables else words(node),
        required=field.is_required(),
        default=None if default is None or tables else _written(default, node),
        example=_written(examples[0], node) if examples else None,
        meaning=prose(field.description or ""),
        tables=tables,
        many=bool(tables) and node.get("type") == "array",
    )


def words(node: Node) -> str:
    """What a piece of schema accepts, in words."""
    if "anyOf" in node or "oneOf" in node:
        branches = [branch for branch in node.get("anyOf", node.get("oneOf")) if branch.get("type") != "null"]
        if len(branches) > 3 and all(branch.get("type") in {*_PLAIN, "array"} for branch in branches):
            lists = any(branch.get("type") == "array" for branch in branches)
            return "value or list of values" if lists else "value"
        return " or ".join(dict.fromkeys(words(branch) for branch in branches))
    if "const" in node:
        return toml(node["const"])
    if "enum" in node:
        *most, last = [toml(value) for value in node["enum"]]
        return f"{', '.join(most)} or {last}" if most else last
    kind = node.get("type")
    if kind == "array":
        return "list of " + words(node.get("items", {"type": "string"}))
    if kind == "object":
        return "table of " + words(node.get("additionalProperties") or {"type": "string"})
    unit = node.get(UNIT)
    name = unit or ("path" if node.get("format") in {"path", "file-path"} else _PLAIN.get(str(kind), "value"))
    return name + _range(node)


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above = node.get("exclusiveMinimum")
    limits = []
    if low is not None and high is not None:
        return f", {_bare(low, node)} to {_bare(high, node)}"
    if above is not None:
        limits.append(f"more than {_bare(above, node)}")
    if low is not None:
        limits.append(f"at least {_bare(low, node)}")
    if high is not None:
        limits.append(f"at most {_bare(high, node)}")
    return "".join(f", {limit}" for limit in limits)


def _written(value: object, node: Node) -> str:
    unit = _unit(node)
    if unit is not None and isinstance(value, int | float):
        return toml(_with_unit(value, unit))
    return toml(value)


def _bare(value: float, node: Node) -> str:
    unit = node.get(UNIT)
    return str(_with_unit(value, unit)) if unit else toml(value)


def _unit(node: Node) -> str | None:
    branches = [node, *node.get("anyOf", [])]
    return next((str(branch[UNIT]) for branch in branches if UNIT in branch), None)


def _with_unit(value: float, unit: str) -> str | float:
    if unit == "size":
        return next((f"{int(value) // size}{name}" for name, size in _SIZES if value and value % size == 0), value)
    if value and value < 1:
        return f"{value * 1000:g}ms"
    return next(
        (f"{value / size:g}{name}" for name, size in _DURATIONS if value and value % size == 0), f"{value:g}s"
    )
