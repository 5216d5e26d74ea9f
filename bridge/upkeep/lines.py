"""The lines in which a verb answers, and the arguments that it is given.

Each line is one JSON object: ``{"item": …}`` any number of times, ``{"progress": …}`` now and then, and at the end
``{"answer": …}``. An item is written into its line byte for byte, so that an event in it stays as it is.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bridge.errors import CommandFailed

Upload = AsyncIterator[bytes]
"""What a client sends after its request: bytes in any pieces."""

_json = json.JSONDecoder(parse_int=str, parse_float=str)


def _number(digits: str) -> int | str:
    # The interpreter refuses to convert thousands of digits; data may have them.
    return int(digits) if len(digits) < 40 else digits


_ITEM = b'{"item":'


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of many.

    Attributes:
        raw: a JSON text, as it was written.
    """

    raw: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        what: what is counted, in the plural.
        done: how many are done.
        total: of how many, or None when nobody knows.
        line: of an upload, the line up to which all is done.
    """

    what: str
    done: int
    total: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of it."""

    value: dict[str, object]


def item(raw: bytes) -> bytes:
    """The line of an item; ``raw`` is a JSON text without a line break."""
    return _ITEM + raw + b"}\n"


def items(*values: Mapping[str, object]) -> bytes:
    """The lines of plain items."""
    return b"".join([item(text(value)) for value in values])


def progress(what: str, done: int, total: int | None = None, line: int | None = None) -> bytes:
    """The line that says how far it is."""
    return text({"progress": asdict(Progress(what, done, total, line))}) + b"\n"


def answer(**fields: object) -> bytes:
    """The last line."""
    return text({"answer": fields}) + b"\n"


def text(value: object) -> bytes:
    """A value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")


def joined(head: Mapping[str, object], name: str, raw: bytes) -> bytes:
    """An object with one member more, which is a JSON text already; ``head`` is not empty."""
    return b"%b,%b:%b}" % (text(head)[:-1], text(name), raw)


def member(raw: bytes, name: str) -> bytes:
    """A member of an item, as it was written."""
    text_, at = raw.decode(), 1
    while True:
        found, at = _json.raw_decode(text_, at)
        _, stop = _json.raw_decode(text_, at + 1)
        if found == name:
            return text_[at + 1 : stop].encode()
        at = stop + 1


def value(raw: bytes) -> Any:
    """What an item says, for people; the data in it may have changed in form."""
    return json.loads(raw, parse_int=_number)


def parse(line: bytes) -> Item | Progress | Answer:
    """What a line says.

    Raises:
        ValueError: nothing that this version knows.
    """
    if line.startswith(_ITEM):
        return Item(line.rstrip()[len(_ITEM) : -1])
    said = json.loads(line)
    try:
        if "progress" in said:
            return Progress(**said["progress"])
        return Answer(dict(said["answer"]))
    except (TypeError, KeyError) as error:
        raise ValueError("no line of an answer") from error


class Args:
    """What a verb is asked for. Every getter raises ``CommandFailed`` for a value of the wrong kind."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        """A text, or None."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise CommandFailed(f"{name}: a text was expected")
        return value

    def number(self, name: str) -> int | None:
        """A whole number from 0 on, or None."""
        value = self._values.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise CommandFailed(f"{name}: a whole number was expected")
        return value

    def numbers(self, name: str) -> Sequence[int]:
        """Whole numbers; none when they are not given."""
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(type(one) is int and one >= 0 for one in value):
            raise CommandFailed(f"{name}: whole numbers were expected")
        return value

    def flag(self, name: str) -> bool:
        """Whether it is asked for."""
        return self._values.get(name) is True
