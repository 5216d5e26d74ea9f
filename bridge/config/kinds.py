"""Kinds of sources and sinks: from the word in the configuration to the settings class, imported on use."""

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from bridge import sinks, sources
from bridge.errors import ConfigError, Problem
from bridge.settings import Settings

T = TypeVar("T", bound=Settings)

BUILT_IN: Mapping[str, Mapping[str, str]] = {"sources": sources.KINDS, "sinks": sinks.KINDS}

# What importing a module that does not fit may raise; anything else would be a strange module indeed.
_BROKEN = (ImportError, SyntaxError, AttributeError, NameError, TypeError, ValueError, OSError, RuntimeError)


def settings_class(side: str, kind: object, base: type[T], at: str) -> type[T]:
    """The settings class of a kind.

    Args:
        side: ``sources`` or ``sinks``.
        kind: the word in the configuration.
        base: what the class must derive from.
        at: dotted path of the table, for the error.

    Raises:
        ConfigError: no such kind, or what it needs cannot be imported.
    """
    if not isinstance(kind, str):
        raise _problem(at, f"must be a word in quotes, one of {_listed(kinds(side))}")
    target = BUILT_IN[side].get(kind)
    if target is None:
        point = _plugins(side).get(kind)
        if point is None:
            raise _problem(at, _unknown(side, kind))
        target = point.value
    return _load(target, kind, base, at)


def kinds(side: str) -> list[str]:
    """Every kind of that side: the built-in ones, then those of installed packages."""
    return [*BUILT_IN[side], *sorted(set(_plugins(side)) - set(BUILT_IN[side]))]


def _plugins(side: str) -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"bridge.{side}")}


def _load(target: str, kind: str, base: type[T], at: str) -> type[T]:
    module, _, name = target.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise _problem(
            at, f'kind "{kind}" cannot be used: the Python module {error.name} is missing; reinstall edge-bridge'
        ) from error
    except _BROKEN as error:
        raise _problem(at, f'kind "{kind}" cannot be used: {module} does not load: {error}') from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise _problem(at, f'kind "{kind}" cannot be used: {target} is no {base.__name__}')
    return found


def _unknown(side: str, kind: str) -> str:
    near = difflib.get_close_matches(kind.lower(), kinds(side), n=1, cutoff=0.6)
    hint = f'; did you mean "{near[0]}"?' if near else f"; it must be one of {_listed(kinds(side))}"
    other = "sinks" if side == "sources" else "sources"
    if not near and kind in BUILT_IN[other]:
        hint = f", only a kind of {other}{hint}"
    return f"is no known kind of {side}{hint}"


def _listed(words: list[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _problem(at: str, message: str) -> ConfigError:
    return ConfigError([Problem(f"{at}.kind", message)])
