"""The ground that every part of the configuration stands on: strict frozen models, durations, sizes, secrets."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from bridge.errors import Paused


class Settings(BaseModel):
    """A table of the configuration: unknown keys are errors, values never change, errors never echo input.

    The docstring of a subclass and the ``description`` of each field are the reference documentation.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?B|B)\Z")
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(value: object) -> float:
    """Seconds, from a number of seconds or text such as ``"500ms"``, ``"30s"``, ``"5m"``, ``"2h"``, ``"7d"``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        msg = 'a duration is a number of seconds or text such as "500ms", "30s", "5m", "2h" or "7d"'
        raise ValueError(msg)
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Bytes, from a number of bytes or text such as ``"64KiB"``, ``"512MiB"``, ``"1GB"``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        msg = 'a size is a number of bytes or text such as "64KiB", "512MiB" or "2GB"'
        raise ValueError(msg)
    unit = match[2].lower().removesuffix("b")
    base = 1024 if unit.endswith("i") else 1000
    return int(float(match[1]) * base ** _SIZE_POWERS[unit.removesuffix("i")])


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds; combine with ``Field(gt=0)`` and the like."""

ByteSize = Annotated[int, BeforeValidator(parse_size)]
"""Bytes."""


def read_secret(path: Path, what: str) -> str:
    """The secret in a file, without its final line break.

    Args:
        path: the file.
        what: the key of the configuration that names the file, for the error.

    Raises:
        Paused: the file is missing, unreadable or empty; the message never holds what it contains.
    """
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise Paused(f"cannot read {what} = {path}: {reason}") from error
    if not secret:
        raise Paused(f"{what} = {path} is empty")
    return secret
