"""How commands are declared: nothing here is loaded but what ``--help`` needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def whole(text: str) -> int:
    """A whole number from 0 on, as people write it.

    Raises:
        ValueError: it is none.
    """
    number = int(text.replace(",", "").replace("_", ""))
    if number < 0:
        raise ValueError("negative")
    return number


whole.__name__ = "whole number"  # argparse says so: invalid whole number value


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Attributes:
        names: its flags, or its one name when it has no flag.
        settings: what else ``argparse`` is told.
    """

    names: tuple[str, ...]
    settings: Mapping[str, Any]


def argument(*names: str, **settings: Any) -> Argument:
    """An argument, said as to ``add_argument`` of ``argparse``."""
    return Argument(names, settings)


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        summary: one line for ``--help``.
        module: where its function ``command`` is.
        options: which of the shared options it takes.
        verdict: whether its exit code says what it found; cut short, it has not found anything.
        arguments: those of its own.
        details: what else ``--help`` says.
        verbs: the commands it consists of; then it has no module of its own.
    """

    summary: str
    module: str = ""
    options: frozenset[str] = frozenset()
    verdict: bool = False
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    verbs: Mapping[str, "Verb"] = field(default_factory=dict)


BOTH = frozenset({"config", "json"})
"""What most commands take."""

YES = argument("--yes", action="store_true", help="do not ask")
