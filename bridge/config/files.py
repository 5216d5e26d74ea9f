"""Configuration files → one tree of plain values: the main file, then ``conf.d/*.toml`` beside it.

A key may be given once in all files together; tables of the same name are merged.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from bridge.errors import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 16

Tree = dict[str, object]

_PLACE = re.compile(r"(.*?) *\(at (?:line (\d+), column (\d+)|end of document)\)\Z", re.DOTALL)
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def files_of(path: Path) -> tuple[Path, ...]:
    """The main file and what lies in ``conf.d`` beside it, in the order of reading; no hidden files of editors.

    A ``conf.d`` that may not be looked into stands for what lies in it, so that reading it says why.
    """
    folder = path.parent / "conf.d"
    try:
        entries = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return (path,)
    except OSError:
        return (path, folder)
    return (path, *(entry for entry in entries if entry.suffix == ".toml" and entry.name[0] != "."))


def read_all(paths: tuple[Path, ...]) -> tuple[Tree, list[Problem]]:
    """The merged tree of all files and every problem found; a file with a problem adds nothing to the tree."""
    merged: Tree = {}
    origins: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        tree, problem = _read(path)
        if problem is not None:
            problems.append(problem)
        problems += _merge(merged, tree, (), path, origins)
    return merged, problems


def dotted(parts: Sequence[str | int]) -> str:
    """A path as people write it: ``sinks.cloud.tls.ca``, ``topics[1]``, with quotes where a key needs them."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (part if _BARE.match(part) else _quoted(part))
    return path


def _quoted(key: str) -> str:
    return '"' + key.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _read(path: Path) -> tuple[Tree, Problem | None]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        how = f"edge-bridge sample > {path}"
        return {}, Problem(str(path), f"there is no such file; write one, for example from: {how}")
    except OSError as error:
        return {}, Problem(str(path), f"cannot be read: {error.strerror or error}")
    if len(raw) > MAX_BYTES:
        return {}, Problem(str(path), f"is larger than {MAX_BYTES} bytes; that is no configuration")
    return _parse(path, raw)


def _parse(path: Path, raw: bytes) -> tuple[Tree, Problem | None]:
    try:
        # Some editors put a byte order mark at the start.
        tree = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return {}, Problem(f"{path}, line {line}", "is not UTF-8 text; save the file as UTF-8")
    except RecursionError:
        return {}, Problem(str(path), "is nested too deeply")
    except ValueError as error:
        return {}, _syntax(path, raw, str(error))
    if _too_deep(tree):
        return {}, Problem(str(path), f"is nested more than {MAX_DEPTH} tables deep")
    return tree, None


def _syntax(path: Path, raw: bytes, message: str) -> Problem:
    match = _PLACE.match(message)
    if match is None:
        return Problem(str(path), f"is not TOML: {message}")
    what, line, column = match.groups()
    if line is None:
        last = raw.rstrip().count(b"\n") + 1
        return Problem(f"{path}, line {last}", f"is not TOML: {what} at the end of the file")
    return Problem(f"{path}, line {line}, column {column}", f"is not TOML: {what}{_hint(what, raw, int(line))}")


def _hint(what: str, raw: bytes, line: int) -> str:
    text = raw.split(b"\n")[line - 1].decode("utf-8", "replace")
    value = text.partition("=")[2].strip()
    if what.startswith("Invalid value") and value[:1].isalpha():
        return '; text must be written in quotes, as in key = "value"'
    if "escape" in what:
        return "; write \\\\ for a backslash, or use 'single quotes', in which nothing is special"
    return ""


def _too_deep(tree: Tree) -> bool:
    level: list[object] = [tree]
    for _ in range(MAX_DEPTH):
        level = [below for value in level for below in _children(value)]
        if not level:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _merge(into: Tree, tree: Tree, at: tuple[str, ...], path: Path, origins: dict[str, Path]) -> Iterator[Problem]:
    for key, value in tree.items():
        here = (*at, key)
        known = into.get(key)
        if key not in into:
            into[key] = value
            origins.update((place, path) for place in _places(value, here))
        elif isinstance(known, dict) and isinstance(value, dict):
            yield from _merge(known, value, here, path, origins)
        else:
            first = origins.get(dotted(here), path)
            yield Problem(dotted(here), f"is given twice, in {first} and in {path}")


def _places(value: object, at: tuple[str, ...]) -> Iterator[str]:
    yield dotted(at)
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _places(below, (*at, key))
