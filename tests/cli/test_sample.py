"""What is generated is printed, and what stands in the tree is what is generated."""

import json
from pathlib import Path

import pytest

from bridge.cli.main import main
from bridge.config.reference import reference
from bridge.config.sample import sample

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("command", "text"), [("sample", sample), ("reference", reference)])
def test_the_text_is_printed(command: str, text: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(text)
    assert main([command]) == 0
    assert capsys.readouterr().out == text()


def test_the_schema_in_the_tree_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["title"] == "edge-bridge configuration"
    assert (ROOT / "config" / "edge-bridge.schema.json").read_text(encoding="utf-8") == printed, "run: make sample"
