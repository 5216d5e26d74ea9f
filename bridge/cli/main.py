"""``edge-bridge``: reads the arguments, hands over to one command, turns errors into exit codes.

Each command lives in a module of its own that is imported when it is asked for, so that ``--help`` and
``version`` cost nothing. ``COMMANDS`` is the one table of them.
"""

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge import __version__
from bridge.cli.dead_letters import DEAD_LETTERS
from bridge.cli.queue import QUEUE
from bridge.cli.table import Verb
from bridge.errors import EXIT_BUG, BridgeError, ConfigError

Command = Callable[[argparse.Namespace], int]
Parser = argparse.ArgumentParser

EXIT_CODES = {
    0: "all is well",
    1: "queue verify found damage, or not all that was asked for could be done; the output says what",
    2: "the command line is wrong",
    69: "no bridge is running (status)",
    70: "a bug: please report it, with the lines above",
    73: "the directory of the spool cannot be used, or a newer version wrote it",
    75: "another process uses the spool",
    78: "the configuration is wrong; systemd does not restart the service for it",
    130: "interrupted from the keyboard",
    141: "whoever read the output went away before check or demo had a result",
}
UNREAD = 141
"""As a shell has it for a program that SIGPIPE ended."""


COMMANDS = {
    "run": Verb("carry readings until told to stop", "bridge.cli.run", frozenset({"config", "log-level"})),
    "check": Verb(
        "say everything that is wrong with the configuration, and show what events will look like",
        "bridge.cli.check",
        frozenset({"config", "json"}),
        verdict=True,
    ),
    "status": Verb("show what the running bridge does", "bridge.cli.status", frozenset({"config", "json"})),
    "queue": QUEUE,
    "dead-letters": DEAD_LETTERS,
    "demo": Verb(
        "play an outage and a kill -9 on this machine, without any configuration", "bridge.cli.demo", verdict=True
    ),
    "sample": Verb("print a configuration to start from, every option explained", "bridge.cli.sample"),
    "reference": Verb("print the reference of the configuration as Markdown", "bridge.cli.sample"),
    "schema": Verb("print the JSON schema of the configuration, for editors", "bridge.cli.sample"),
    "version": Verb("print the version", "bridge.cli.main"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out one command line; returns the exit code, see ``EXIT_CODES``."""
    _fill_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows few letters must not turn output into an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    with _LastResort() as end:
        args = parser().parse_args(argv)
        if "config" in args and args.config is None:
            args.config = _default_config()
        verb = COMMANDS[args.command]
        if verb.verbs:
            verb = verb.verbs[args.verb]
        end.unread = UNREAD if verb.verdict else 0
        carry_out: Command = importlib.import_module(verb.module).command
        end.code = carry_out(args)
        sys.stdout.flush()
    return end.code


def command(args: argparse.Namespace) -> int:
    """``edge-bridge version``."""
    print(f"edge-bridge {__version__}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="edge-bridge",
        description="Carries device readings to the cloud, through outages and power cuts.",
        epilog="exit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"edge-bridge {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, verb in COMMANDS.items():
        one = _add(commands, name, verb)
        if verb.verbs:
            inner = one.add_subparsers(dest="verb", metavar="VERB", required=True)
            for inner_name, inner_verb in verb.verbs.items():
                _add(inner, inner_name, inner_verb)
    return top


def _add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, verb: Verb) -> Parser:
    one = commands.add_parser(
        name,
        help=verb.summary,
        description=f"{verb.summary[0].upper()}{verb.summary[1:]}. {verb.details}".strip(),
    )
    if "config" in verb.options:
        one.add_argument(
            "-c",
            "--config",
            type=Path,
            metavar="FILE",
            help="the configuration (default: /etc/edge-bridge/config.toml, or that of an ordinary user)",
        )
    if "json" in verb.options:
        one.add_argument("--json", action="store_true", help="print JSON for programs")
    if "log-level" in verb.options:
        one.add_argument(
            "--log-level",
            choices=("debug", "info", "warning", "error"),
            help="the least severe lines to log (default: as configured)",
        )
    for argument in verb.arguments:
        one.add_argument(*argument.names, **argument.settings)
    return one


def _default_config() -> Path:
    from bridge.config.paths import default_config  # noqa: PLC0415 - only needed by some commands

    return default_config()


class _LastResort:
    """The top frame: what leaves a command becomes a message for people and an exit code.

    Attributes:
        code: the exit code.
        unread: the exit code when whoever read the output went away.
    """

    def __init__(self) -> None:
        self.code = 0
        self.unread = 0

    def __enter__(self) -> Self:
        """Nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Swallows what can be said in a sentence, and bugs with their traceback; lets SystemExit pass."""
        if error is None:
            return False
        if isinstance(error, KeyboardInterrupt):
            self.code = 130
        elif isinstance(error, BrokenPipeError):
            self.code = self.unread
            _stop_printing()
        elif ours := _said(error):
            _complain("\n".join(_sentence(one) for one in ours))
            self.code = ours[0].exit_code
        elif isinstance(error, Exception):
            _complain("edge-bridge: a bug, please report it:\n" + "".join(traceback.format_exception(error)))
            self.code = EXIT_BUG
        else:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _stop_printing()
            return False
        return True


def _fill_closed_streams() -> None:
    """Puts something where a standard stream was closed, so that no file of the spool or socket gets its number.

    What is there cannot be written to: a sink to standard output must see that nobody reads. What commands
    print goes nowhere.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


def _stop_printing() -> None:
    """Whoever read our output (head, less) has enough; Python must not complain about it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _said(error: BaseException) -> list[BridgeError]:
    """The errors of ours in ``error``; none when anything else is in it, too."""
    leaves = list(_leaves(error))
    ours = [leaf for leaf in leaves if isinstance(leaf, BridgeError)]
    return ours if len(ours) == len(leaves) else []


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _sentence(error: BridgeError) -> str:
    if not isinstance(error, ConfigError):
        return f"edge-bridge: {error}"
    count = len(error.problems)
    return "\n".join(
        [f"edge-bridge: the configuration has {count} {'mistake' if count == 1 else 'mistakes'}:"]
        + [f"  {problem}" for problem in error.problems]
    )


def _complain(text: str) -> None:
    from bridge.host.journal import say  # noqa: PLC0415 - only needed when something went wrong

    say(text)
