"""``edge-bridge queue`` for people and for programs, on a queue that no bridge has open."""

import io
import json
import sys
from pathlib import Path

import pytest

from bridge.cli.main import main
from bridge.cli.queue import listing, purge, stat, verify

EVENT = (
    '{"specversion":"1.0","id":"%s","source":"urn:s","type":"t","datacontenttype":"application/json","data":21.50}'
)

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def filled(config: Path, tmp_path: Path, capsys: Captured) -> Path:
    """A configuration with three events in its queue."""
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(EVENT % number for number in range(3)))
    assert main(["queue", "import", "-c", str(config), str(file)]) == 0
    assert capsys.readouterr().out == "3 events stored in lane default\n"
    return config


def queue(config: Path, *arguments: str) -> int:
    return main(["queue", *arguments, "-c", str(config)])


def test_the_list_shows_lanes_segments_and_ranges(filled: Path, capsys: Captured) -> None:
    assert queue(filled, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [
        "alarms",
        "default",
        "dead-letters",
    ]
    assert any("records 0 to 2" in line for line in lines)
    assert any(".seg  0 to 2, " in line and "ago" in line for line in lines)
    assert queue(filled, "list", "--lane", "default", "--json") == 0
    (lane,) = json.loads(capsys.readouterr().out)["lanes"]
    assert (lane["name"], lane["segments"][0]["records"]) == ("default", 3)


def test_stat_answers_what_waits_for_whom_and_since_when(filled: Path, capsys: Captured) -> None:
    assert queue(filled, "stat") == 0
    shown = capsys.readouterr().out
    assert "(no bridge is running)" in shown
    assert "lane default: 3 events, oldest" in shown
    assert "  cloud: 3 wait, oldest" in shown
    assert "dead letters: 0 open" in shown
    assert queue(filled, "stat", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lanes"][1]["sinks"][0]["waiting"] == 3


def test_stat_shouts_what_needs_somebody() -> None:
    lane = {
        "name": "default", "configured": True, "priority": 0, "records": 5, "bytes": 100, "max_bytes": 200,
        "max_age": None, "on_full": "block", "oldest": 5.0, "full": "max_bytes",
        "lost": {"purged": 7}, "damaged": 2,
        "sinks": [{"name": "old", "configured": False, "waiting": 5, "oldest": None}],
    }  # fmt: skip
    answer = {
        "path": "/x", "running": True, "lanes": [lane], "dead_letters": {**lane, "open": 1}, "wear": None,
        "writable": False, "stalled": 0.0, "last_error": "Input/output error",
    }  # fmt: skip
    shown = "\n".join(stat.lines(answer))
    for fact in (
        "FULL: max_bytes",
        "lost 7 since the start: purged",
        "lost 2 since the start: damaged",
        "NOT CONFIGURED, see: edge-bridge queue forget --sink old --lane default",
        "CANNOT BE WRITTEN",
        "Input/output error",
        "(50 %), on_full block",
    ):
        assert fact in shown


def test_peek_shows_events_as_they_are_written(filled: Path, capsys: Captured) -> None:
    assert queue(filled, "peek", "--count", "1", "--sink", "cloud") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("default 0, ")
    assert '"data":21.50}' in shown
    assert queue(filled, "peek", "--json", "--lane", "default", "--from", "2") == 0
    assert json.loads(capsys.readouterr().out)["offset"] == 2
    assert queue(filled, "peek", "--lane", "alarms") == 0
    assert "Nothing waits there." in capsys.readouterr().err


def test_an_export_goes_to_a_file_or_to_standard_output(filled: Path, tmp_path: Path, capsys: Captured) -> None:
    assert queue(filled, "export") == 0
    out = capsys.readouterr()
    assert out.err == "3 events exported\n"
    assert [json.loads(line)["id"] for line in out.out.splitlines()] == ["0", "1", "2"]
    assert queue(filled, "export", "-o", str(tmp_path / "out.jsonl")) == 0
    assert (tmp_path / "out.jsonl").read_text() == out.out


def test_an_import_names_the_lines_that_hold_no_event(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(f"{EVENT % 1}\ngarbage\n{EVENT % 2}", encoding="utf-8")
    with file.open(encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert queue(config, "import", "--json", "--lane", "alarms") == 1
    shown = capsys.readouterr()
    assert shown.err == "line 2 refused: no JSON object\n"
    assert json.loads(shown.out) == {"lane": "alarms", "stored": 2, "refused": 1, "lines": 3}


def test_a_file_that_cannot_be_read_or_written_is_said(filled: Path, tmp_path: Path, capsys: Captured) -> None:
    assert queue(filled, "import", str(tmp_path / "no.jsonl")) == 1
    assert "no.jsonl cannot be read: No such file" in capsys.readouterr().err
    assert queue(filled, "export", "-o", str(tmp_path / "no" / "out.jsonl")) == 1
    assert "cannot be written: No such file" in capsys.readouterr().err


def test_verify_is_1_when_there_is_damage(filled: Path, tmp_path: Path, capsys: Captured) -> None:
    assert queue(filled, "verify") == 0
    assert "no damage, 0 lost" in capsys.readouterr().out
    (segment,) = (tmp_path / "state" / "spool" / "lanes" / "default").glob("*.seg")
    segment.write_bytes(segment.read_bytes().replace(b"21.50", b"91.50", 1))
    assert queue(filled, "verify") == 1
    shown = capsys.readouterr().out
    assert f"DAMAGED: {segment}, bytes " in shown
    assert "record 0 of default: its payload does not match its checksum" in shown
    assert queue(filled, "verify", "--json") == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_finding_says_what_is_lost_and_what_is_no_reason_to_worry() -> None:
    finding = {
        "path": "/x", "lane": "a", "position": 80, "end": 2000, "first": 5, "stop": 8, "what": "gone",
        "damage": True,
    }  # fmt: skip
    assert verify.line(finding) == "DAMAGED: /x, bytes 80 to 2,000: records 5 to 7 of a: gone"
    unfinished = {**finding, "stop": 5, "damage": False}
    assert verify.line(unfinished) == "unfinished: /x, bytes 80 to 2,000: gone"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_purge_asks_first(filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert queue(filled, "purge", "--lane", "default") == 1
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert queue(filled, "purge", "--lane", "default") == 1
    asked = capsys.readouterr().err
    assert "Give up what waits for good (lane default: not confirmed by cloud 3)? [y/N]" in asked
    assert "Nothing was done." in asked
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert queue(filled, "purge", "--lane", "default", "--before", "2") == 0
    assert capsys.readouterr().out == "lane default: 2 events given up\n"
    assert queue(filled, "purge", "--sink", "cloud", "--yes", "--json") == 0
    assert [lane["lost"] for lane in json.loads(capsys.readouterr().out)["lanes"]] == [0, 1]


def test_the_question_names_what_is_lost() -> None:
    lanes = [{"name": "a", "sinks": {"x": 1200, "y": 0}}, {"name": "b", "sinks": {}}]
    question = purge.question({"lanes": lanes})
    assert question == "Give up what waits for good (lane a: not confirmed by x 1,200, y 0; lane b)?"


def test_an_orphan_is_forgotten_after_a_question(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    text = filled.read_text(encoding="utf-8")
    filled.write_text(text.replace("[sinks.cloud]", "[sinks.new]").replace("[lanes.alarms]", "[lanes.other]"))
    monkeypatch.setattr(sys, "stdin", Terminal("y\ny\n"))
    assert queue(filled, "forget", "--sink", "cloud", "--lane", "default") == 0
    shown = capsys.readouterr()
    assert "Forget the sink cloud, for which are kept: 3 events in lane default? [y/N]" in shown.err
    assert shown.out == "the sink cloud is forgotten\n"
    assert queue(filled, "forget", "--lane", "alarms") == 0
    shown = capsys.readouterr()
    assert "Remove the lane alarms with 0 events for good? [y/N]" in shown.err
    assert shown.out == "the lane alarms is forgotten\n"
    assert queue(filled, "forget", "--sink", "new", "--yes") == 1
    assert "is configured" in capsys.readouterr().err


def test_an_empty_lane_and_a_removed_one_are_told(capsys: Captured) -> None:
    lane = {
        "name": "a", "configured": False, "first": 5, "stop": 5, "records": 0, "bytes": 0, "segments": [],
    }  # fmt: skip
    assert [*listing.lines(lane)] == ["a: no records, 0 B in 0 segments, not configured any more"]


@pytest.mark.parametrize("arguments", [[], ["fly"], ["peek", "--count", "-1"], ["peek", "--from", "x"]])
def test_a_wrong_command_line_is_2(config: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        queue(config, *arguments)
    assert caught.value.code == 2


def test_without_a_queue_that_is_said(config: Path, capsys: Captured) -> None:
    assert queue(config, "list") == 73
    assert "nothing was stored so far" in capsys.readouterr().err
