"""A check says everything that is wrong, warns of what can be mended later, and shows the events to come."""

import argparse
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import sinks, sources
from bridge.cli import check

GOOD = """
[gateway]
id = "gw03"

[sources.boiler]
kind = "toy"
port = "/dev/boiler"
event = { type = "com.example.said", subject = "{device}", extensions = { partitionkey = "{port}" } }

[sinks.cloud]
kind = "ear"
url = "https://example.com"
"""

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Check:
    """Exit code and output of a check of a text."""
    monkeypatch.setitem(sources.KINDS, "toy", "tests.config.toy_kinds:ToySource")
    monkeypatch.setitem(sinks.KINDS, "ear", "tests.config.toy_kinds:ToySink")

    def run(text: str, *, as_json: bool = False) -> tuple[int, str]:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        code = check.command(argparse.Namespace(config=path, json=as_json))
        return code, capsys.readouterr().out

    return run


def test_a_good_configuration_shows_an_event_of_each_source(checked: Check, tmp_path: Path) -> None:
    code, said = checked(GOOD)
    assert code == 0
    assert said.splitlines()[-1] == f"{tmp_path}/config.toml: 1 source, 1 sink: OK"
    event = json.loads(said.splitlines()[1])
    assert event["source"] == "urn:edge-bridge:gw03/boiler"
    assert event["subject"] == "device"
    assert event["partitionkey"] == "/dev/boiler"


def test_every_mistake_is_printed_with_its_path(checked: Check, tmp_path: Path) -> None:
    code, said = checked(GOOD.replace("port =", "prot =").replace("url =", "ulr ="))
    assert code == 78
    for path in ("sources.boiler.prot", "sources.boiler.port", "sinks.cloud.ulr", "sinks.cloud.url"):
        assert f"error: {path}: " in said
    assert said.splitlines()[-1] == f"{tmp_path}/config.toml: 4 mistakes"


def test_a_side_without_a_table_is_a_mistake(checked: Check) -> None:
    code, said = checked(GOOD.partition("[sinks")[0])
    assert code == 78
    assert "error: sinks: nothing is configured; add a table [sinks.NAME]" in said


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (None, 0, "cannot be read: No such file or directory"),
        ("", 0o600, "is empty"),
        ("secret", 0o644, "may be read by every user"),
        ("secret", 0o600, None),
    ],
)
def test_the_file_of_a_secret_is_looked_at_and_never_shown(
    checked: Check, tmp_path: Path, content: str | None, mode: int, message: str | None
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    code, said = checked(GOOD + f'password_file = "{path}"\n')
    assert code == 0
    assert "secret\n" not in said
    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == (0 if message is None else 1)
    if message is not None:
        assert warnings[0].startswith(f"warning: sinks.cloud.password_file: {path} {message}")
        assert said.splitlines()[-1].endswith("OK, 1 warning")


def test_files_in_nested_tables_are_looked_at(checked: Check, tmp_path: Path) -> None:
    lines = f'lock = {{ key = "{tmp_path}/none" }}\nheader_files = {{ X-Key = "{tmp_path}/none" }}\n'
    _, said = checked(GOOD + lines)
    assert "warning: sinks.cloud.lock.key: " in said
    assert "warning: sinks.cloud.header_files.X-Key: " in said


def test_a_file_of_somebody_else_says_who_asks(
    checked: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path), mode)

    findings = check.examine(tmp_path / "none")
    assert findings.errors
    monkeypatch.setattr(Path, "open", refuse)
    assert f"may not be read by uid {os.getuid()}" in (check._trouble(tmp_path, secret=True) or "")


def test_a_host_name_that_everybody_has_is_a_warning(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "raspberrypi")
    code, said = checked(GOOD.replace('id = "gw03"', ""))
    assert code == 0
    assert 'warning: gateway.id: is "raspberrypi"' in said


def test_an_event_that_the_judge_refuses_is_a_mistake(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise ValueError("the judge says no")

    monkeypatch.setattr(check, "verify", refuse)
    code, said = checked(GOOD)
    assert code == 78
    assert "error: sources.boiler.event: the judge says no" in said


def test_templates_that_need_real_values_are_a_warning(checked: Check) -> None:
    code, said = checked(GOOD.replace('subject = "{device}"', 'dataschema = "{schema}"'))
    assert code == 0
    assert "warning: sources.boiler.event: cannot be shown with made-up values: dataschema" in said


def test_programs_get_json(checked: Check) -> None:
    code, said = checked(GOOD, as_json=True)
    findings = json.loads(said)
    assert (code, findings["ok"], findings["errors"]) == (0, True, [])
    assert findings["samples"]["boiler"]["type"] == "com.example.said"
    code, said = checked("x = 1", as_json=True)
    findings = json.loads(said)
    assert (code, findings["ok"]) == (78, False)
    assert [problem["path"] for problem in findings["errors"]] == ["x"]
