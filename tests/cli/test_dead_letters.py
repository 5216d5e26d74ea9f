"""``edge-bridge dead-letters`` for people and for programs, on a spool that no bridge has open."""

import io
import json
import sys
from base64 import b64decode
from pathlib import Path

import pytest

from bridge.cli.dead_letters.show import lines, readable
from bridge.cli.main import main
from bridge.spool.envelope import unpack_dead_letter
from bridge.upkeep.letters import whole
from bridge.upkeep.lines import Item, parse
from tests.kit.desk import refused

Captured = pytest.CaptureFixture[str]


def dead(config: Path, *arguments: str) -> int:
    return main(["dead-letters", *arguments, "-c", str(config)])


def test_each_letter_is_one_line(letters: Path, capsys: Captured) -> None:
    assert dead(letters, "list") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "     0  2023-11-14T22:13:21Z  source scale, frame of 7 B: no"
    assert shown.err == "2 of 2 dead letters\n"
    assert dead(letters, "list", "--json", "--sink", "cloud") == 0
    assert capsys.readouterr() == ("", "")


def test_a_letter_is_shown_with_its_original_bytes(letters: Path, capsys: Captured) -> None:
    assert dead(letters, "show", "0", "1") == 0
    shown = capsys.readouterr().out
    for fact in (
        "reason:    no",
        "by source scale after 3 tries",
        "    21.50 C\n",
        "00 01 67 61 72",
        "..garbage.",
    ):
        assert fact in shown
    assert dead(letters, "show", "0", "7", "--json") == 1
    told = capsys.readouterr()
    assert b64decode(json.loads(told.out)["frame_base64"]) == b"21.50 C"
    assert "no open dead letter 7" in told.err


def test_an_event_is_shown_as_it_is_written() -> None:
    line = parse(whole(3, unpack_dead_letter(refused(1))))
    assert isinstance(line, Item)
    assert '"data":{"v":21.50}}' in "\n".join(lines(line.raw))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", []),
        ("21.50 °C\nnext".encode(), ["21.50 °C", "next"]),
        (b"\x1b[2J", ["00000000  1b 5b 32 4a                                      .[2J"]),
        (b"\xff" * 17, [f"00000000  {'ff ' * 15}ff  {'.' * 16}", f"00000010  ff{' ' * 45}  ."]),
    ],
)
def test_text_is_readable_and_anything_else_cannot_reach_the_terminal(data: bytes, shown: list[str]) -> None:
    assert [*readable(data)] == shown


def test_letters_are_exported_to_a_file(letters: Path, tmp_path: Path, capsys: Captured) -> None:
    assert dead(letters, "export", "1", "-o", str(tmp_path / "out")) == 0
    assert capsys.readouterr().err == "1 dead letter exported\n"
    assert json.loads((tmp_path / "out").read_bytes())["offset"] == 1


def test_a_retry_says_which_stay_and_why(letters: Path, capsys: Captured) -> None:
    assert dead(letters, "retry", "--all") == 1
    shown = capsys.readouterr()
    assert shown.out == "0 dead letters back in the queue, 2 stay\n"
    assert "dead letter 0 stays: not JSON: " in shown.err
    assert dead(letters, "retry", "0", "9", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["retried"], answer["missing"], answer["stay"][0]["offset"]) == (0, [9], 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_drop_asks_first(letters: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("\n"))
    assert dead(letters, "drop", "--all") == 1
    assert "Drop 2 dead letters for good? [y/N]" in capsys.readouterr().err
    assert dead(letters, "drop", "0", "--yes") == 0
    assert capsys.readouterr().out == "1 dead letter dropped\n"
    assert dead(letters, "drop", "--yes") == 1
    assert "say which" in capsys.readouterr().err
