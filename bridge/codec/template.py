"""Text with placeholders: ``boiler/{device}`` with a value for ``device``.

``{name}`` is a value, ``{a.b}`` the field ``b`` within the field ``a``, ``{{`` and ``}}`` are braces. There are
no formats and no expressions: what a value looks like is decided where it is made.
"""

import json
import math
from collections.abc import Callable, Mapping

from bridge.errors import DecodeError

_MISSING = object()


class Template:
    """A template, parsed once.

    Attributes:
        text: as it was written.
        names: what is between the braces, each once.
        constant: the text that it always renders to, or None when it has placeholders.
        head: the literal text before the first placeholder.

    Raises:
        ValueError: the text is no template; the message says what is wrong and where.
    """

    __slots__ = ("_only", "_parts", "constant", "head", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts = _parse(text)
        # Literal and name alternate, beginning and ending with a literal.
        self._parts = parts
        self.names = frozenset(parts[1::2])
        self.constant = parts[0] if len(parts) == 1 else None
        self.head = parts[0]
        self._only = parts[1] if len(parts) == 3 and not parts[0] and not parts[2] else None

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def render(self, *lookups: Mapping[str, object], quote: Callable[[str, str], str] | None = None) -> str:
        """The text with the value of each name in the first lookup that has it.

        A name is looked up as it stands first; with dots it then also is a path into fields of fields.
        Text is taken as it is, numbers and booleans as JSON writes them.

        Args:
            lookups: where values come from, the first that has a name wins.
            quote: turns ``(name, value)`` into what is written for it; nothing is done by default.

        Raises:
            DecodeError: a name has no value, or one that is no text, number or boolean.
        """
        if self.constant is not None:
            return self.constant
        if quote is None:
            if self._only is not None:
                return value_of(self._only, lookups)
            return "".join(
                [value_of(part, lookups) if index & 1 else part for index, part in enumerate(self._parts)]
            )
        return "".join(
            [quote(part, value_of(part, lookups)) if index & 1 else part for index, part in enumerate(self._parts)]
        )


def _parse(text: str) -> list[str]:
    parts = [""]
    position = 0
    while position < len(text):
        brace = text[position]
        if brace not in "{}":
            end = min((at for at in (text.find("{", position), text.find("}", position)) if at >= 0), default=None)
            parts[-1] += text[position:end]
            position = len(text) if end is None else end
        elif text.startswith(brace, position + 1):
            parts[-1] += brace
            position += 2
        elif brace == "}":
            raise ValueError(f"'}}' without '{{' at character {position + 1}; a brace itself is written '}}}}'")
        else:
            end = text.find("}", position)
            if end < 0:
                raise ValueError(
                    f"'{{' without '}}' at character {position + 1}; a brace itself is written '{{{{'"
                )
            parts += [_checked_name(text[position + 1 : end], position), ""]
            position = end + 1
    return parts


def _checked_name(name: str, position: int) -> str:
    where = f"at character {position + 1}"
    if "{" in name:
        raise ValueError(f"'{{' within '{{' {where}")
    if ":" in name or "!" in name:
        raise ValueError(f"'{{{name}}}' {where}: formats are not supported, only names")
    if not all(part and part == part.strip() for part in name.split(".")):
        raise ValueError(f"'{{{name}}}' {where}: a name is expected, or names joined by dots, without spaces")
    return name


def value_of(name: str, lookups: tuple[Mapping[str, object], ...]) -> str:
    """What a template writes for ``{name}``, from the first lookup that has it; see :meth:`Template.render`.

    Raises:
        DecodeError: there is no value, or one that is no text, number or boolean.
    """
    for lookup in lookups:
        value = lookup.get(name, _MISSING)
        if value is not _MISSING:
            return value if isinstance(value, str) else _written(name, value)
    if "." in name:
        for lookup in lookups:
            value = _within(name, lookup)
            if value is not _MISSING:
                return value if isinstance(value, str) else _written(name, value)
    raise DecodeError(f"there is no value for {{{name}}}")


def found(name: str, lookups: tuple[Mapping[str, object], ...]) -> object:
    """The value itself that :func:`value_of` would write, or None when there is none."""
    for lookup in lookups:
        if name in lookup:
            return lookup[name]
    for lookup in lookups:
        value = _within(name, lookup)
        if value is not _MISSING:
            return value
    return None


def _within(path: str, lookup: Mapping[str, object]) -> object:
    value: object = lookup
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _written(name: str, value: object) -> str:
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    kind = {type(None): "null", float: "too large a number", dict: "an object", list: "an array"}.get(type(value))
    raise DecodeError(
        f"the value for {{{name}}} is {kind or type(value).__name__}: text, a number or a boolean is needed"
    )
