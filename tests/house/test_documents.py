"""What the documents say is true: links lead somewhere, commands exist, examples are valid configurations."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import bridge.spool
from bridge.cli.main import EXIT_CODES
from bridge.config.load import load
from bridge.errors import ConfigError
from tests.house.tree import ROOT, texts, write

FORMAT = re.compile(r"^## The format\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"^```(\S*)(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\bedge-bridge ([a-z][a-z-]*)\b")
TARGET = re.compile(r"\bmake ([a-z][a-z-]*)\b")
SHELL = {"sh", "console", "bash"}


def documents(root: Path) -> Iterator[tuple[Path, str]]:
    return ((path, text) for path, text in texts(root) if path.suffix == ".md")


def dead_links(root: Path) -> list[str]:
    return [
        f"{path} links to {link}"
        for path, text in documents(root)
        for link in LINK.findall(text)
        if not (root / path).parent.joinpath(link).exists()
    ]


def said(root: Path, pattern: re.Pattern[str]) -> set[str]:
    """What the documents tell people to type: in shell blocks and in inline code."""
    typed = []
    for _, text in documents(root):
        typed += [body for language, _, body in FENCE.findall(text) if language in SHELL]
        typed += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return {name for code in typed for name in pattern.findall(code)}


def toml_blocks(root: Path) -> Iterator[tuple[str, str, str]]:
    """Name, kind (empty: a whole configuration, ``fragment``: part of one), and text of every TOML block."""
    for path, text in documents(root):
        for number, (language, kind, body) in enumerate(FENCE.findall(text), 1):
            if language == "toml":
                yield f"{path} block {number}", kind.strip(), body
    for example in sorted((root / "config").rglob("*.toml")):
        yield str(example.relative_to(root)), "", example.read_text(encoding="utf-8")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_links_between_documents_lead_somewhere() -> None:
    assert dead_links(ROOT) == []


def test_make_targets_in_the_documents_exist() -> None:
    assert said(ROOT, TARGET) - targets() == set()


@pytest.mark.parametrize("command", sorted(said(ROOT, COMMAND)))
def test_commands_in_the_documents_exist(command: str) -> None:
    help_of = [sys.executable, "-m", "bridge", command, "--help"]
    subprocess.run(help_of, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(("kind", "text"), [pytest.param(k, t, id=n) for n, k, t in toml_blocks(ROOT)])
def test_an_example_is_a_valid_configuration(
    kind: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", text):
        monkeypatch.setenv(name, "example")
    if kind == "fragment":
        tomllib.loads(text)
    else:
        config = tmp_path / "config.toml"
        config.write_text(text, encoding="utf-8")
        load(config)


def test_a_mistake_in_an_example_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"docs/a.md": '```toml\n[sources.boiler]\nkind = "steam"\n```\n'})
    ((_, _, text),) = toml_blocks(tmp_path)
    write(tmp_path, {"config.toml": text})
    with pytest.raises(ConfigError):
        load(tmp_path / "config.toml")


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"docs/a.md": "[good](b.md) [bad](c.md) [far](https://example.com)", "docs/b.md": ""})
    assert dead_links(tmp_path) == ["docs/a.md links to c.md"]


def test_typed_commands_are_found_in_blocks_and_in_inline_code(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "`edge-bridge one` edge-bridge prose\n```sh\nedge-bridge two\n```\n"})
    assert said(tmp_path, COMMAND) == {"one", "two"}


def test_the_changelog_knows_the_version() -> None:
    assert f"## [{bridge.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_knows_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Exit codes")[1].split("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)} == set(EXIT_CODES)


def test_the_format_in_the_documents_is_that_of_the_code() -> None:
    found = FORMAT.search((ROOT / "docs" / "spool.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found[1].strip() == (bridge.spool.__doc__ or "").strip()
