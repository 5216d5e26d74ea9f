"""Durations, sizes and secrets as people write them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.errors import Paused
from bridge.settings import ByteSize, Duration, Settings, read_secret


class Example(Settings):
    """An example."""

    wait: Duration = 1.0
    size: ByteSize = 1


@pytest.mark.parametrize(
    ("text", "seconds"), [(5, 5.0), (0.5, 0.5), ("500ms", 0.5), ("30s", 30.0), ("1.5 h", 5400.0), ("7d", 604800.0)]
)
def test_durations(text: object, seconds: float) -> None:
    assert Example.model_validate({"wait": text}).wait == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [(512, 512), ("1kB", 1000), ("64KiB", 65536), ("1.5MiB", 1572864), ("2GB", 2 * 10**9), ("7B", 7)],
)
def test_sizes(text: object, count: int) -> None:
    assert Example.model_validate({"size": text}).size == count


@pytest.mark.parametrize(
    "wrong",
    [{"wait": "soon"}, {"wait": True}, {"wait": "5 apples"}, {"size": "big"}, {"size": 1.5}, {"size": True}],
)
def test_what_is_neither_is_refused_with_examples(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="such as"):
        Example.model_validate(wrong)


def test_unknown_keys_are_errors() -> None:
    with pytest.raises(ValidationError, match="wiat"):
        Example.model_validate({"wiat": 1})


def test_errors_never_echo_what_was_written() -> None:
    with pytest.raises(ValidationError) as caught:
        Example.model_validate({"wait": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_the_file_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p ss\n")
    assert read_secret(tmp_path / "secret", "password_file") == "p ss"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_secret_that_cannot_be_read_pauses_and_names_the_key_and_the_file(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Paused, match=f"password_file = {path}"):
        read_secret(path, "password_file")


def test_a_duration_without_end_is_refused() -> None:
    with pytest.raises(ValidationError):
        Example.model_validate({"wait": float("inf")})
