"""Reads a configuration: every mistake is found and named at once."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bridge.codec.minting import Minter
from bridge.config import paths
from bridge.config.files import Tree, dotted, files_of, read_all
from bridge.config.kinds import kinds, settings_class
from bridge.config.model import NAME, BridgeSettings, Config, GatewaySettings
from bridge.config.problems import kind_of, problems, unknown_key
from bridge.config.substitute import Substitution
from bridge.errors import ConfigError, Problem
from bridge.settings import Settings
from bridge.sinks.settings import SinkSettings
from bridge.sources.settings import SourceSettings
from bridge.spool.settings import DEFAULT_LANE, DeadLetterSettings, LaneSettings, SpoolSettings, too_small

T = TypeVar("T", bound=Settings)

TABLES = ("gateway", "bridge", "spool", "lanes", "dead_letters", "sources", "sinks")


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in ``path`` and in ``conf.d/*.toml`` beside it; what is not written has its default.

    ``${NAME}`` in text is replaced from ``environ`` (default: the process's). ``CREDENTIALS_DIRECTORY``, which
    systemd sets for the running service only, is assumed to be where systemd puts it, so that a check by hand
    reads the same configuration. A configuration without sources or sinks is legal here.

    Raises:
        ConfigError: with every mistake at once.
    """
    environ = os.environ if environ is None else environ
    path = path.absolute()
    files = files_of(path)
    tree, found = read_all(files)
    if found:
        # What is missing in a file that could not be read is no further mistake.
        raise ConfigError(found)
    substitution = Substitution({"CREDENTIALS_DIRECTORY": str(paths.SYSTEM_CREDENTIALS), **environ})
    tree = substitution.tree(tree)
    reader = _Reader(tree, substitution)
    gateway = reader.table("gateway", GatewaySettings)
    bridge = reader.table("bridge", BridgeSettings)
    spool = reader.table("spool", SpoolSettings)
    dead_letters = reader.table("dead_letters", DeadLetterSettings)
    lanes = {DEFAULT_LANE: LaneSettings(), **reader.lanes()}
    sources = reader.named("sources", SourceSettings)
    sinks = reader.named("sinks", SinkSettings)
    if gateway is not None:
        reader.check_templates(gateway, sources)
    if spool is not None:
        reader.check_sizes(spool, lanes)
    reader.check_lanes(lanes, sources, sinks)
    reader.check_ports(sources)
    reader.check_sessions(sources)
    reader.finish()
    if (
        gateway is None or bridge is None or spool is None or dead_letters is None
    ):  # pragma: no cover - finish() raised
        raise ConfigError(reader.problems)
    return Config(
        gateway=gateway,
        bridge=bridge,
        spool=spool,
        lanes=lanes,
        dead_letters=dead_letters,
        state_dir=bridge.state_dir or paths.state_dir(path, environ),
        runtime_dir=bridge.runtime_dir or paths.runtime_dir(path, environ),
        sources=sources,
        sinks=sinks,
        files=files,
    )


class _Reader:
    """Turns the tables of one tree into settings and collects what is wrong with them."""

    def __init__(self, tree: Tree, substitution: Substitution) -> None:
        self._tree = tree
        self._substitution = substitution
        self.problems: list[Problem] = []

    def table(self, name: str, model: type[T]) -> T | None:
        return self._validate(self._tree.get(name, {}), model, (name,))

    def named(self, side: str, base: type[T]) -> dict[str, T]:
        """The tables ``[side.NAME]``, each of the class that its kind asks for."""
        built: dict[str, T] = {}
        for name, table in self._tables(side).items():
            settings = self._one(side, name, table, base)
            if settings is not None:
                built[name] = settings
        return built

    def lanes(self) -> dict[str, LaneSettings]:
        """The tables ``[lanes.NAME]``."""
        built: dict[str, LaneSettings] = {}
        for name, table in self._tables("lanes").items():
            fits = self._is_named_table("lanes", name, table)
            settings = self._validate(table, LaneSettings, ("lanes", name)) if fits else None
            if settings is not None:
                built[name] = settings
        return built

    def check_sizes(self, spool: SpoolSettings, lanes: Mapping[str, LaneSettings]) -> None:
        """Complains about a lane that holds too few segments or records."""
        for name, lane in lanes.items():
            for problem in too_small(lane.max_bytes, spool) if lane.max_bytes is not None else ():
                self._complain(("lanes", name, "max_bytes"), problem.removeprefix("max_bytes "))

    def check_lanes(
        self,
        lanes: Mapping[str, LaneSettings],
        sources: Mapping[str, SourceSettings],
        sinks: Mapping[str, SinkSettings],
    ) -> None:
        """Complains about lanes that do not exist, and about those that no sink empties."""
        used: dict[str, tuple[str | int, ...]] = {}
        for name, source in sources.items():
            used.setdefault(source.lane, ("sources", name, "lane"))
            for number, rule in enumerate(source.lane_rules):
                used.setdefault(rule.lane, ("sources", name, "lane_rules", number, "lane"))
        wanted = {lane: ("sinks", name, "lanes") for name, sink in sinks.items() for lane in sink.lanes or ()}
        for lane, at in (used | wanted).items():
            if lane not in lanes:
                self._complain(at, f"there is no lane {lane!r}; add a table [lanes.{lane}]")
        for lane, at in used.items():
            if lane in lanes and sinks and not any(sink.takes(lane) for sink in sinks.values()):
                self._complain(at, f"no sink takes what comes into the lane {lane!r}: name it in the lanes of one")

    def check_templates(self, gateway: GatewaySettings, sources: Mapping[str, SourceSettings]) -> None:
        """Complains about templates that no reading could make a legal event of."""
        for name, settings in sources.items():
            try:
                Minter(settings.event, prefix=gateway.source, name=name, gateway_id=gateway.id, instance="check")
            except ValueError as error:
                self._complain(("sources", name, "event"), str(error))

    def check_ports(self, sources: Mapping[str, SourceSettings]) -> None:
        """Complains about a serial port that two sources would fight for."""
        owners: dict[str, str] = {}
        for name, settings in sources.items():
            if settings.kind == "serial" and owners.setdefault(settings.peer, name) != name:
                self._complain(
                    ("sources", name, "port"), f"is the port of sources.{owners[settings.peer]} already"
                )

    def check_sessions(self, sources: Mapping[str, SourceSettings]) -> None:
        """Complains about an MQTT session that two sources would take from each other, over and over."""
        owners: dict[tuple[str, str], str] = {}
        for name, settings in sources.items():
            session = getattr(settings, "client_id", None)
            if session is None:
                continue
            owner = owners.setdefault((settings.peer, session), name)
            if owner != name:
                self._complain(("sources", name, "client_id"), f"is that of sources.{owner} at the same broker")

    def finish(self) -> None:
        """Raises with everything that was found, if anything was."""
        for key in self._tree:
            if key not in TABLES:
                self._complain((key,), unknown_key(key, TABLES))
        unresolved = {problem.path for problem in self._substitution.problems}
        # What could not be filled in is one mistake, whatever the empty text does to the rules.
        self.problems = [problem for problem in self.problems if problem.path not in unresolved]
        self.problems = [*self._substitution.problems, *self.problems]
        if self.problems:
            raise ConfigError(self.problems)

    def _one(self, side: str, name: str, table: object, base: type[T]) -> T | None:
        at = (side, name)
        if not self._is_named_table(side, name, table) or not isinstance(table, dict):
            return None
        if "kind" not in table:
            listed = ", ".join(f'"{kind}"' for kind in kinds(side))
            self._complain((*at, "kind"), f"is missing; it must be one of {listed}")
            return None
        try:
            model = settings_class(side, table["kind"], base, dotted(at))
        except ConfigError as error:
            self.problems += error.problems
            return None
        return self._validate(table, model, at)

    def _tables(self, side: str) -> Tree:
        tables = self._tree.get(side, {})
        if isinstance(tables, dict):
            return tables
        self._complain((side,), f"must hold tables such as [{side}.NAME], is {kind_of(tables)}")
        return {}

    def _is_named_table(self, side: str, name: str, table: object) -> bool:
        if not isinstance(table, dict):
            message = f"must be a table, [{side}.NAME] with its keys below, is {kind_of(table)}"
        elif not NAME.match(name):
            message = (
                'the name must be 1 to 63 lower-case letters, digits, "-" and "_", starting with a letter or '
                "digit; it identifies the data on the disk"
            )
        else:
            return True
        self._complain((side, name), message)
        return False

    def _validate(self, table: object, model: type[T], at: tuple[str, ...]) -> T | None:
        if not isinstance(table, dict):
            self._complain(at, f"must be a table, [{dotted(at)}], is {kind_of(table)}")
            return None
        try:
            return model.model_validate(table)
        except ValidationError as error:
            self.problems += self._hidden(problems(error, model, table, at))
            return None

    def _hidden(self, found: Iterator[Problem]) -> Iterator[Problem]:
        for problem in found:
            yield Problem(problem.path, self._substitution.hide(problem.message))

    def _complain(self, at: tuple[str | int, ...], message: str) -> None:
        self.problems.append(Problem(dotted(at), message))
