"""Progress is one line on a terminal, gone at the end, and nothing anywhere else."""

import io
import sys

import pytest

from bridge.cli import progress
from bridge.cli.progress import Meter, confirmed, words
from bridge.errors import CommandFailed
from bridge.upkeep.lines import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_says_what_is_done_of_how_much() -> None:
    assert words(Progress("events", 1500, 30_000)) == "1,500 of 30,000 events (5 %)"
    assert words(Progress("bytes", 1 << 20, 1 << 21)) == "1.0 MiB of 2.0 MiB (50 %)"
    assert words(Progress("events", 7)) == "7 events"
    assert words(Progress("events", 7, 5)) == "7 of 5 events (100 %)"


def test_a_terminal_gets_a_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with Meter() as meter:
        meter.show(Progress("events", 10_000))
        meter.show(Progress("events", 5))
    assert terminal.getvalue() == "\r10,000 events\r5 events     \r        \r"


def test_anything_else_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    with Meter() as meter:
        meter.show(Progress("events", 1))
    assert plain.getvalue() == ""


@pytest.mark.parametrize(
    ("said", "agreed"), [("y\n", True), ("Yes\n", True), ("\n", False), ("", False), ("no\n", False)]
)
def test_only_a_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, said: str, *, agreed: bool) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    assert confirmed("Really?", yes=False) is agreed


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandFailed, match="add --yes"):
        confirmed("Really?", yes=False)
    assert confirmed("Really?", yes=True)
