"""The command line: cheap to ask for help, and every way to fail has its exit code and its sentence."""

import argparse
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import __version__
from bridge.cli import main as cli
from bridge.cli.table import Verb
from bridge.errors import BridgeError, ConfigError, Problem, SpoolLocked, Unavailable

ROOT = Path(__file__).resolve().parents[2]
Ending = Callable[[Callable[[argparse.Namespace], int]], int]


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    """The exit code when a command does what the test says."""

    def of(command: Callable[[argparse.Namespace], int]) -> int:
        module = types.ModuleType("toy_command")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "toy_command", module)
        monkeypatch.setitem(cli.COMMANDS, "toy", Verb("a toy", "toy_command", frozenset({"config", "json"})))
        return cli.main(["toy", "--config", "x.toml"])

    return of


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def command(_: argparse.Namespace) -> int:
        raise error

    return command


def bridge(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_knows_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert re.search(rf"^    {name}\b", text, re.MULTILINE)
    for code, meaning in cli.EXIT_CODES.items():
        assert re.search(rf"^ +{code}  {re.escape(meaning)}$", text, re.MULTILINE)


def test_every_exit_code_of_an_error_is_documented() -> None:
    def below(one: type[BridgeError]) -> set[type[BridgeError]]:
        return {one}.union(*(below(inner) for inner in one.__subclasses__()))

    codes = {error.exit_code for error in below(BridgeError) if error.__module__.startswith("bridge.")}
    assert codes <= set(cli.EXIT_CODES)


def test_help_is_cheap() -> None:
    code = (
        "import sys\nfrom bridge.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"asyncio", "pydantic", "aiohttp", "platformdirs", "logging"} & set(done.stderr.split()) == set()


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"edge-bridge {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--wrong"], ["run", "--log-level", "loud"]])
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_a_command_gets_its_options_and_gives_the_exit_code(ending: Ending) -> None:
    seen: list[argparse.Namespace] = []

    def command(args: argparse.Namespace) -> int:
        seen.append(args)
        return 5

    assert ending(command) == 5
    assert (seen[0].config, seen[0].json) == (Path("x.toml"), False)


def test_without_the_option_the_default_configuration_is_meant(
    ending: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.config.paths.default_config", lambda: Path("/etc/default.toml"))
    seen: list[Path] = []

    def command(args: argparse.Namespace) -> int:
        seen.append(args.config)
        return 0

    assert ending(command) == 0
    assert cli.main(["toy"]) == 0
    assert seen == [Path("x.toml"), Path("/etc/default.toml")]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError([Problem("a.b", "is wrong")]), 78, "the configuration has 1 mistake:\n  a.b: is wrong\n"),
        (ConfigError([Problem("a", "x"), Problem("b", "y")]), 78, "has 2 mistakes:\n  a: x\n  b: y\n"),
        (SpoolLocked("pid 7 has it"), 75, "edge-bridge: pid 7 has it\n"),
        (
            ExceptionGroup("g", [ExceptionGroup("h", [SpoolLocked("pid 7 has it")])]),
            75,
            "edge-bridge: pid 7 has it\n",
        ),
        (Unavailable("away"), 70, "edge-bridge: away\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_what_leaves_a_command_becomes_a_sentence_and_an_exit_code(
    ending: Ending, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    assert ending(raising(error)) == code
    heard = capfd.readouterr().err
    assert heard.endswith(said)
    assert bool(heard) == bool(said)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), ExceptionGroup("g", [SpoolLocked("x"), OSError("y")])])
def test_a_bug_shows_where_it_is(ending: Ending, capfd: pytest.CaptureFixture[str], error: Exception) -> None:
    assert ending(raising(error)) == 70
    heard = capfd.readouterr().err
    assert "a bug, please report it" in heard
    assert "Traceback" in heard
    assert "test_main.py" in heard


def test_an_exit_that_was_asked_for_passes(ending: Ending) -> None:
    with pytest.raises(SystemExit):
        ending(raising(SystemExit(3)))


@pytest.mark.parametrize("command", ["version", "--help", "--version"])
def test_a_reader_that_has_enough_is_no_error(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Buffered, as it is for people: what fails is the last flush.
    environ = {**os.environ, "PYTHONUNBUFFERED": ""}
    order = [sys.executable, "-m", "bridge", command]
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(order, cwd=ROOT, env=environ, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_verdict_that_nobody_read_is_none(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("nonsense = 1\n")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        order = [sys.executable, "-m", "bridge", "check", "--config", str(config)]
        done = subprocess.run(order, cwd=ROOT, stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(tmp_path: Path, closed: str) -> None:
    script = f'"$0" -m bridge "$@" {closed}'
    for arguments, code in (["version"], 0), (["check", "-c", str(tmp_path / "x.toml")], 78), (["nonsense"], 2):
        done = subprocess.run(
            ["sh", "-c", script, sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_no_file_gets_the_number_of_a_closed_standard_output() -> None:
    code = (
        "import os\nfrom bridge.cli import main\nmain.main(['version'])\n"
        "try: os.write(1, b'x')\nexcept OSError: os._exit(7)"
    )
    script = '"$0" -c "$1" >&-'
    assert subprocess.run(["sh", "-c", script, sys.executable, code], cwd=ROOT, check=False).returncode == 7


def test_a_terminal_that_knows_few_letters_gets_escapes() -> None:
    code = "from bridge.cli import main as m\nm.command = lambda args: print('\\u2192') or 0\nm.main(['version'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.stdout == b"\\u2192\n"


def test_the_package_can_be_started() -> None:
    assert bridge("version").stdout == f"edge-bridge {__version__}\n"


def test_a_missing_configuration_is_78_and_says_how_to_get_one(tmp_path: Path) -> None:
    done = bridge("run", "--config", str(tmp_path / "no.toml"))
    assert done.returncode == 78
    assert "edge-bridge sample >" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_nothing_to_do_is_78_and_says_how_to_go_on(tmp_path: Path, command: str) -> None:
    (tmp_path / "config.toml").touch()
    done = bridge(command, "--config", str(tmp_path / "config.toml"))
    assert done.returncode == 78
    assert "[sources.NAME]" in done.stdout + done.stderr
