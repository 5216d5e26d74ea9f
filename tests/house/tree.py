"""The source tree as the laws see it: modules, what they import, and the text files beside them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".venv", "__pycache__", "build", "dist"}


@dataclass(frozen=True)
class Module:
    """One module of the package: its dotted name and its file."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def imports(self) -> Iterator[str]:
        """The dotted name of everything imported, at the top, in functions, or for types only."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield base
                # `from bridge.spool import record` imports a module if there is one of that name.
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        keep = len(parts) - node.level + (1 if self.is_package else 0)
        return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def modules(root: Path) -> dict[str, Module]:
    """Every module of the package ``bridge`` below ``root``, by dotted name."""
    found = {}
    for path in sorted((root / "bridge").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


def inner_imports(module: Module, known: dict[str, Module]) -> set[str]:
    """The modules of the package that ``module`` imports."""
    return {name for name in module.imports() if name in known} - {module.name}


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Every text file below ``root`` that may be committed."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part in NOT_OURS or part.endswith(("_cache", ".egg-info")) for part in inside.parts)
        if hidden or inside.parts[0] in {".hypothesis", ".demo"} or not path.is_file():
            continue
        try:
            yield inside, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def write(root: Path, files: dict[str, str]) -> Path:
    """Makes a small tree for a test that breaks a law on purpose."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root
