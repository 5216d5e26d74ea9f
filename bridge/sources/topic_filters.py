"""Topic filters of MQTT whose levels may have names: ``site/{site}/{device}/+``.

MQTT 5.0 §4.7: levels are separated by ``/``; ``+`` stands for one level, ``#`` at the end for all that follow,
the parent included; a wildcard at the beginning never matches topics that begin with ``$``.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Self

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")
_RESERVED = frozenset({"topic"})
_MAX_BYTES = 65535
_IDENTIFIERS = 268_435_455
_MAX_GUESSED_LEVELS = 8


class TopicFilter:
    """One filter as it is configured.

    Attributes:
        subscription: the filter to subscribe to, with ``+`` in place of every name.
        names: of the captured levels, in order.
    """

    def __init__(self, subscription: str, names: tuple[str, ...], pattern: "re.Pattern[str]") -> None:
        self.subscription = subscription
        self.names = names
        self._pattern = pattern

    @classmethod
    def parse(cls, text: str) -> Self:
        """The filter that ``text`` describes.

        Raises:
            ValueError: naming the level that breaks a rule, and the rule.
        """
        if not text:
            raise ValueError("a topic filter is empty")
        if len(text.encode()) > _MAX_BYTES or "\0" in text:
            raise ValueError("a topic filter has at most 65,535 bytes and no NUL")
        if text.startswith("$share/"):
            raise ValueError(
                f'"{text}": shared subscriptions are not supported; subscribe to the topics themselves'
            )
        levels = text.split("/")
        names: list[str] = []
        wanted, pattern = [], ""
        for index, level in enumerate(levels):
            last = index == len(levels) - 1
            if level == "#":
                if not last:
                    raise ValueError(f'"{text}": # stands only at the end')
                wanted.append("#")
                pattern += "(?:/.*)?" if index else ".*"
                continue
            name = _NAME.match(level)
            if name is not None:
                _check_name(text, name[1], names)
                names.append(name[1])
            elif level != "+" and re.search(r"[+#{}]", level):
                raise ValueError(f'"{text}": the level "{level}" must be plain text, + or {{name}} as a whole')
            plain = name is None and level != "+"
            wanted.append(level if plain else "+")
            part = re.escape(level) if plain else f"(?P<{name[1]}>[^/]*)" if name else "[^/]*"
            pattern += ("/" if index else "") + part
        if wanted[0] in {"+", "#"}:
            pattern = r"(?!\$)" + pattern
        return cls("/".join(wanted), tuple(names), re.compile(pattern, re.DOTALL))

    @property
    def identifier(self) -> int:
        """A number that is always the same for the same subscription, 1 to 268,435,455 (MQTT 5.0 §3.8.2.1.2)."""
        return zlib.crc32(self.subscription.encode()) % _IDENTIFIERS + 1

    def match(self, topic: str) -> Mapping[str, str] | None:
        """The captured levels and ``topic`` itself, or None when the filter does not match the topic."""
        found = self._pattern.fullmatch(topic)
        return None if found is None else {**found.groupdict(), "topic": topic}


def _check_name(text: str, name: str, names: list[str]) -> None:
    if name in _RESERVED:
        raise ValueError(f'"{text}": {{{name}}} is the whole topic; choose another name')
    if name in names:
        raise ValueError(f'"{text}": the name {{{name}}} is used twice')


def overlap(one: str, other: str) -> bool:
    """Whether a topic exists that both subscriptions match."""
    return _overlap(one.split("/"), other.split("/"), first=True)


def _overlap(one: Sequence[str], other: Sequence[str], *, first: bool) -> bool:
    if one[:1] == ["#"] or other[:1] == ["#"]:
        rest = other if one[:1] == ["#"] else one
        return not (first and rest[0].startswith("$"))
    if not one or not other:
        return not one and not other
    if first and {one[0][:1], other[0][:1]} == {"+", "$"}:
        return False
    return (one[0] == other[0] or "+" in {one[0], other[0]}) and _overlap(one[1:], other[1:], first=False)


def filters_that_match(topic: str) -> Iterator[str]:
    """Every filter that can exist and matches ``topic``; none for topics of more than eight levels."""
    levels = topic.split("/")
    if len(levels) > _MAX_GUESSED_LEVELS:
        return
    yield "#"
    for length in range(1, len(levels) + 1):
        for choice in product(*((level, "+") for level in levels[:length])):
            beginning = "/".join(choice)
            if length == len(levels):
                yield beginning
            yield f"{beginning}/#"
