"""``${NAME}`` in text becomes the environment's value; ``$$`` is a dollar sign, any other ``$`` is itself."""

import re
from collections.abc import Mapping

from bridge.config.files import Tree, dotted
from bridge.errors import Problem

_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Substitution:
    """One pass over a tree; remembers what was filled in, so that no message ever shows it.

    Attributes:
        problems: every reference that could not be resolved.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []
        self._filled: dict[str, str] = {}

    def tree(self, tree: Tree, at: tuple[str | int, ...] = ()) -> Tree:
        """A copy of ``tree`` with every reference in its text values resolved."""
        return {key: self._value(value, (*at, key)) for key, value in tree.items()}

    def hide(self, message: str) -> str:
        """``message`` with what came from the environment replaced by its name."""
        for name, value in self._filled.items():
            if len(value) >= 4:
                message = message.replace(value, f"${{{name}}}")
        return message

    def _value(self, value: object, at: tuple[str | int, ...]) -> object:
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: self._resolve(match, at), value)
        if isinstance(value, dict):
            return self.tree(value, at)
        if isinstance(value, list):
            return [self._value(item, (*at, index)) for index, item in enumerate(value)]
        return value

    def _resolve(self, match: re.Match[str], at: tuple[str | int, ...]) -> str:
        if match[0] == "$$":
            return "$"
        name, closed = match.groups()
        if not closed or not _NAME.match(name):
            self._complain(at, 'has a "${" that starts no ${NAME} of letters, digits and "_"; for a "$" write $$')
            return ""
        if name not in self._environ:
            self._complain(at, f"names ${{{name}}}, which is not set in the environment")
            return ""
        self._filled[name] = self._environ[name]
        return self._environ[name]

    def _complain(self, at: tuple[str | int, ...], message: str) -> None:
        self.problems.append(Problem(dotted(at), message))
