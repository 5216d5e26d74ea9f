"""Which headers a configuration may set, and those whose values are secrets in files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from bridge.errors import Paused
from bridge.settings import read_secret

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_VALUE = re.compile(r"[\x20-\x7e]*\Z")
_OURS = re.compile(
    r"(?:ce-.*|content-.*|host|connection|transfer-encoding|expect|te|upgrade|keep-alive|accept-encoding)\Z",
    re.IGNORECASE,
)
_SECRET = re.compile(r"authorization|cookie|token|secret|passw|api[-_]?key|credential|signature", re.IGNORECASE)


def check_name(name: str) -> None:
    """Raises ``ValueError`` unless a configuration may set the header of that name."""
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is no name of a header")
    if _OURS.match(name):
        raise ValueError(f"{name} is set by edge-bridge itself")


def check_header(name: str, value: str) -> None:
    """Raises ``ValueError`` unless the header may stand in a configuration with its value."""
    check_name(name)
    if _SECRET.search(name):
        raise ValueError(
            f"{name} looks like a secret, and this file is no place for one: put the value into a file "
            f'and name it in header_files = {{ {name} = "…" }}, or use bearer_token_file'
        )
    if not _VALUE.match(value):
        raise ValueError(f"{name}: a value is printable ASCII text")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What no message may show.

    Attributes:
        headers: those whose values are secret.
        words: every secret, to be struck out of texts.
    """

    headers: Mapping[str, str] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)


def read_secrets(url: str, bearer_token_file: Path | None, header_files: Mapping[str, Path]) -> Secrets:
    """Reads every file; blocks.

    Raises:
        Paused: a file is missing, unreadable, or holds no value of a header.
    """
    headers = {}
    words = [value for _, value in parse_qsl(urlsplit(url).query) if len(value) >= 4]
    for name, path in header_files.items():
        headers[name] = _header_value(path, f"header_files.{name}")
    if bearer_token_file is not None:
        headers["Authorization"] = f"Bearer {_header_value(bearer_token_file, 'bearer_token_file')}"
    for value in headers.values():
        words += [value, *value.split()[1:]]  # of "Basic dXNlcjpwYXNz" the word alone, too
    return Secrets(headers, tuple(sorted(set(words), key=len, reverse=True)))


def _header_value(path: Path, what: str) -> str:
    value = read_secret(path, what).strip()
    if not value or not _VALUE.match(value):
        raise Paused(f"{what} = {path} holds something else than one line of printable ASCII")
    return value
