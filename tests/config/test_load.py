"""Every mistake in a configuration is found at once, named by its path, without showing a secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import sources
from bridge.config.load import load
from bridge.config.model import host_id
from bridge.errors import ConfigError
from tests.config.toy_kinds import Line, ToySink, ToySource

Mistakes = Callable[[str], dict[str, str]]

GOOD = """
[gateway]
id = "gw03"

[sources.boiler]
kind = "toy"
port = "/dev/boiler"
framing = { kind = "line", max_length = 99 }
event = { type = "com.example.said" }

[sinks.cloud]
kind = "ear"
url = "https://example.com"
"""


def source(lines: str) -> str:
    return f'[sources.boiler]\nkind = "toy"\nport = "p"\nevent = {{ type = "t" }}\n{lines}\n'


def write(directory: Path, text: str, name: str = "config.toml") -> Path:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.usefixtures("toys")
def test_a_good_configuration_becomes_settings(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD), {})
    boiler, cloud = config.sources["boiler"], config.sinks["cloud"]
    assert isinstance(boiler, ToySource)
    assert boiler.framing == Line(max_length=99)
    assert isinstance(cloud, ToySink)
    assert (config.gateway.id, config.gateway.source) == ("gw03", "urn:edge-bridge:gw03")
    assert config.bridge.drain_timeout == 10
    assert config.files == (tmp_path / "config.toml",)


def test_an_empty_file_is_a_legal_configuration_with_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""), {"STATE_DIRECTORY": "/state:/other", "RUNTIME_DIRECTORY": "/run/x"})
    assert config.gateway.id == host_id()
    assert (config.sources, config.sinks) == ({}, {})
    assert config.spool_dir == Path("/state/spool")
    assert config.control_socket == Path("/run/x/control.sock")


def test_directories_in_the_file_win(tmp_path: Path) -> None:
    path = write(tmp_path, '[bridge]\nstate_dir = "/a"\nruntime_dir = "/b"\n')
    config = load(path, {"STATE_DIRECTORY": "/c", "RUNTIME_DIRECTORY": "/d"})
    assert (config.state_dir, config.runtime_dir) == (Path("/a"), Path("/b"))


def test_all_mistakes_are_named_at_once(mistakes: Mistakes) -> None:
    found = mistakes("""
        surces = 1
        [gateway]
        id = "no spaces"
        source = "a b"
        [bridge]
        drain_timeout = "soon"
        state_dir = "relative"
        [sources.boiler]
        kind = "toy"
        prot = "x"
        baudrate = "quick"
        framing = { kind = "line", max_lenght = 3 }
        event = { type = "t" }
        [sources.Upper]
        kind = "toy"
        [sources.nokind]
        [sources.typo]
        kind = "toi"
        [sources]
        flat = 3
        [sinks.cloud]
        kind = "ear"
        password = "hunter2"
    """)
    assert set(found) == {
        "surces",
        "gateway.id",
        "gateway.source",
        "bridge.drain_timeout",
        "bridge.state_dir",
        "sources.boiler.prot",
        "sources.boiler.port",
        "sources.boiler.baudrate",
        "sources.boiler.framing.max_lenght",
        "sources.Upper",
        "sources.nokind.kind",
        "sources.typo.kind",
        "sources.flat",
        "sinks.cloud.url",
        "sinks.cloud.password",
    }
    assert found["surces"] == 'is no known key; did you mean "sources"?'
    assert found["sources.boiler.prot"] == 'is no known key; did you mean "port"?'
    assert found["sources.boiler.port"] == "is missing: Where the toy is"
    assert found["sources.boiler.framing.max_lenght"] == 'is no known key; did you mean "max_length"?'
    assert found["sources.typo.kind"] == 'is no known kind of sources; did you mean "toy"?'
    assert "name it with password_file" in found["sinks.cloud.password"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("lines", "path", "message"),
    [
        ("baudrate = 1.5", "baudrate", "must be a whole number, not a number with a fraction"),
        ("baudrate = [1]", "baudrate", "must be a whole number, not a list"),
        ("baudrate = 2026-01-01", "baudrate", "must be a whole number, not a date"),
        ('loud = "very"', "loud", "must be true or false, not text"),
        ("volume = 12", "volume", "must be at most 11"),
        ("volume = 0", "volume", "must be greater than 0"),
        ("volume = nan", "volume", None),
        ('mood = "mery"', "mood", 'must be one of "merry" or "grim"; did you mean "merry"?'),
        ("mood = {}", "mood", 'must be one of "merry" or "grim", not a table'),
        ("words = 5", "words", "must be a list, not a whole number"),
        ('words = ["a", 5]', "words[1]", "must be text, not a whole number"),
        ('words = ["a", "b", "c", "d"]', "words", "must have at most 3 entries, has 4"),
        ("topics = 5", "topics", "must be text or a list, not a whole number"),
        ('topics = ["a", false]', "topics[1]", "must be text, not false"),
        ('framing = "line"', "framing", "must be a table, not text"),
        ("framing = {}", "framing.kind", 'is missing; it must be one of "block", "line"'),
        ('framing = { kind = "lin" }', "framing.kind", 'must be one of "block", "line"; did you mean "line"?'),
        ('framing = { kind = "block" }', "framing.size", "is missing: Bytes of a block"),
        ('framing = { kind = "line", max_length = 0 }', "framing.max_length", "must be at least 1"),
        ('"a key" = 5', '"a key"', None),
        ('wait = "soon"', "wait", None),
        ('mood = "grim"\nloud = true', "", "a grim toy cannot be loud"),
        ("event.extensions = { a = 5 }", "event", None),
    ],
)
def test_a_wrong_value_gets_a_sentence(mistakes: Mistakes, lines: str, path: str, message: str | None) -> None:
    text = source(lines)
    if lines.startswith("event."):
        text = text.replace('event = { type = "t" }', 'event.type = "t"')
        path = "event.extensions.a"
    ((at, said),) = mistakes(text).items()
    assert at == ".".join(part for part in ("sources.boiler", path) if part)
    assert message is None or said == message


@pytest.mark.parametrize("text", ["sources = 5", "[sources]\nboiler = 5", "[[sources.boiler]]", "gateway = 5"])
def test_what_should_be_a_table_and_is_none_is_said(mistakes: Mistakes, text: str) -> None:
    ((_, said),) = mistakes(text).items()
    assert said.startswith("must")
    assert " is a" in said


def test_text_is_filled_from_the_environment(toys: None, tmp_path: Path) -> None:
    path = write(tmp_path, source('token_file = "${CREDENTIALS_DIRECTORY}/t"\nwords = ["${A}$$ $SYS/#"]'))
    settings = load(path, {"A": "${B}"}).sources["boiler"]
    assert isinstance(settings, ToySource)
    assert settings.words == ["${B}$ $SYS/#"]
    assert settings.token_file == Path("/run/credentials/edge-bridge.service/t")
    settings = load(path, {"A": "", "CREDENTIALS_DIRECTORY": "/c"}).sources["boiler"]
    assert isinstance(settings, ToySource)
    assert settings.token_file == Path("/c/t")


def test_a_name_that_is_not_set_is_one_mistake(mistakes: Mistakes) -> None:
    text = source("").replace('"p"', '"${MISSING}"')
    assert mistakes(text) == {"sources.boiler.port": "names ${MISSING}, which is not set in the environment"}


def test_templates_that_cannot_work_are_mistakes(mistakes: Mistakes) -> None:
    assert list(mistakes(source("").replace('"t"', '"{"'))) == ["sources.boiler.event.type"]


def test_two_sources_cannot_share_a_serial_port(mistakes: Mistakes) -> None:
    one = '[sources.{}]\nkind = "serial"\nport = "/dev/ttyUSB0"\nevent = {{ type = "t" }}\n'
    assert mistakes(one.format("a") + one.format("b")) == {
        "sources.b.port": "is the port of sources.a already",
    }


def test_two_sources_cannot_share_an_mqtt_session(mistakes: Mistakes) -> None:
    one = '[sources.{}]\nkind = "mqtt"\ntopics = ["{}"]\nclient_id = "c"\nevent = {{ type = "t" }}\n'
    assert mistakes(one.format("a", "x") + one.format("b", "y")) == {
        "sources.b.client_id": "is that of sources.a at the same broker",
    }


def test_a_file_in_conf_d_is_read_too(toys: None, tmp_path: Path) -> None:
    main = write(tmp_path, GOOD)
    write(tmp_path, '[sinks.second]\nkind = "ear"\nurl = "u"\n[bridge]\nlog_level = "debug"\n', "conf.d/10-b.toml")
    write(tmp_path, "nonsense", "conf.d/README")
    config = load(main, {})
    assert list(config.sinks) == ["cloud", "second"]
    assert config.bridge.log_level == "debug"
    assert len(config.files) == 2


def test_only_configured_kinds_are_imported(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources.KINDS, "broken", "no.such.module:Class")
    load(write(tmp_path, GOOD), {})
    with pytest.raises(ConfigError, match="the Python module no is missing"):
        load(write(tmp_path, GOOD.replace('"toy"', '"broken"')), {})


def test_what_came_from_the_environment_is_never_shown(mistakes: Mistakes) -> None:
    found = mistakes(
        '[sources.boiler]\nkind = "toy"\nport = "p"\nwait = "${SECRET}"\nevent = { type = "{${SECRET}" }'
    )
    assert set(found) == {"sources.boiler.wait", "sources.boiler.event.type"}
    assert "hunter2" not in str(found)
    found = mistakes('[sinks.cloud]\nkind = "ear"\nurl = "${SECRET}"')
    assert found == {"sinks.cloud.url": "'${SECRET}' is no address"}
