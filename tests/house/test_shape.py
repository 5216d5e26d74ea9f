"""What a file may look like: its size, what it catches, and what a constructor does not do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import ROOT, modules, write

MAX_FILE = 350
MAX_FUNCTION = 60
VAGUE_NAMES = {"utils", "util", "helpers", "common", "misc", "constants"}

BROAD_ALLOWED: dict[str, str] = {}
"""Modules that may catch everything, each with its reason."""

CANCELLATION_ALLOWED: dict[str, str] = {}
"""Modules that may end a cancellation, each with its reason."""

SILENCER = re.compile(r"# noqa(?:: ([A-Z0-9, ]+))?(?:- (\S.*))?$")

BUSY_CALLS = {
    "open", "connect", "create_task", "ensure_future", "start_server", "start_unix_server", "socket", "Popen",
    "mkdir", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "listdir", "iterdir", "getaddrinfo",
}  # fmt: skip
"""Calls that are input, output or the start of something alive."""


Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_large(root: Path) -> list[str]:
    found = []
    for name, module in modules(root).items():
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE:
            found.append(f"{name} has {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, Function):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    found.append(f"{name}.{node.name} has {length} lines")
    return found


def vague_names(root: Path) -> list[str]:
    return [name for name in modules(root) if VAGUE_NAMES & set(name.split("."))]


def broad_excepts(root: Path) -> list[str]:
    found = []
    for name, module in modules(root).items():
        if name in BROAD_ALLOWED:
            continue
        found += [
            f"{name}:{handler.lineno} catches everything"
            for handler in _handlers(module.tree)
            if handler.type is None or {"Exception", "BaseException"} & set(_caught(handler.type))
        ]
    return found


def swallowed_cancellations(root: Path) -> list[str]:
    found = []
    for name, module in modules(root).items():
        if name in CANCELLATION_ALLOWED:
            continue
        found += [
            f"{name}:{handler.lineno} catches CancelledError and never raises"
            for handler in _handlers(module.tree)
            if handler.type and "CancelledError" in _caught(handler.type) and not _raises(handler)
        ]
        found += [
            f"{name}:{node.lineno} suppresses CancelledError"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call)
            and _called(node) == "suppress"
            and any("CancelledError" in _caught(argument) for argument in node.args)
        ]
    return found


def busy_constructors(root: Path) -> list[str]:
    found = []
    for name, module in modules(root).items():
        for node in ast.walk(module.tree):
            if isinstance(node, Function) and node.name in {"__init__", "__post_init__"}:
                calls = {_called(inner) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
                found += [f"{name}:{node.lineno} calls {call}" for call in sorted(calls & BUSY_CALLS)]
    return found


def bare_silencers(root: Path) -> list[str]:
    """Silenced rules without a reason; a reason stands for the same rule further down in the file, too."""
    found = []
    for name, module in modules(root).items():
        explained: set[str] = set()
        for number, line in enumerate(module.path.read_text(encoding="utf-8").splitlines(), 1):
            silenced = SILENCER.search(line)
            if silenced is not None:
                rules = set((silenced[1] or "").replace(",", " ").split())
                if not rules or (not silenced[2] and not rules <= explained):
                    found.append(f"{name}:{number} noqa without a rule or a reason")
                explained |= rules
    return found


def _handlers(tree: ast.Module) -> Iterator[ast.ExceptHandler]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def _caught(node: ast.expr) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _called(node: ast.Call) -> str:
    return next(iter(_caught(node.func)), "") if isinstance(node.func, ast.Name | ast.Attribute) else ""


def test_files_and_functions_stay_small() -> None:
    assert too_large(ROOT) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert vague_names(ROOT) == []


def test_nothing_catches_everything() -> None:
    assert broad_excepts(ROOT) == []


def test_a_cancellation_is_never_swallowed() -> None:
    assert swallowed_cancellations(ROOT) == []


def test_a_constructor_does_no_input_or_output_and_starts_nothing() -> None:
    assert busy_constructors(ROOT) == []


def test_a_silenced_check_names_its_rule_and_reason() -> None:
    assert bare_silencers(ROOT) == []


def test_a_long_file_and_a_long_function_are_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/event.py": "def f():\n" + "    pass\n" * 60, "bridge/clock.py": "\n" * 351})
    assert too_large(tmp_path) == ["bridge.clock has 351 lines", "bridge.event.f has 61 lines"]


def test_a_vague_name_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/spool/helpers.py": ""})
    assert vague_names(tmp_path) == ["bridge.spool.helpers"]


def test_every_form_of_a_broad_except_is_found(tmp_path: Path) -> None:
    forms = ["except:", "except Exception:", "except (OSError, BaseException) as error:", "except* Exception:"]
    write(tmp_path, {f"bridge/m{n}.py": f"try:\n    pass\n{form}\n    pass\n" for n, form in enumerate(forms)})
    assert len(broad_excepts(tmp_path)) == len(forms)


def test_a_swallowed_cancellation_is_found(tmp_path: Path) -> None:
    caught = "try:\n    pass\nexcept asyncio.CancelledError:\n    {}\n"
    write(
        tmp_path,
        {
            "bridge/a.py": caught.format("pass"),
            "bridge/b.py": caught.format("raise"),
            "bridge/c.py": "with contextlib.suppress(OSError, asyncio.CancelledError):\n    pass\n",
        },
    )
    assert swallowed_cancellations(tmp_path) == [
        "bridge.a:3 catches CancelledError and never raises",
        "bridge.c:1 suppresses CancelledError",
    ]


def test_a_busy_constructor_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/a.py": "class A:\n    def __init__(self):\n        self.file = open('x')\n"})
    assert busy_constructors(tmp_path) == ["bridge.a:2 calls open"]


def test_a_bare_silencer_is_found(tmp_path: Path) -> None:
    mark = "# no" + "qa"
    lines = [
        f"a = 1  {mark}",
        f"b = 1  {mark}: A002 - the word of the specification",
        f"c = 1  {mark}: A002",
        f"d = 1  {mark}: S101",
    ]
    write(tmp_path, {"bridge/a.py": "\n".join(lines)})
    assert [line.split()[0] for line in bare_silencers(tmp_path)] == ["bridge.a:1", "bridge.a:4"]
