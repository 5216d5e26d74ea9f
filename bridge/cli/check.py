"""``edge-bridge check``: every mistake of a configuration, and what its events will look like.

Mistakes end in exit code 78. Warnings are about what may be mended while the bridge runs, such as a secret's
file that is not there yet: the bridge starts with them and tries again.
"""

import argparse
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from bridge.assemble import sample_events
from bridge.cli.orphans import orphans
from bridge.codec.sdk_check import verify
from bridge.config.load import load
from bridge.config.model import NO_ID, Config
from bridge.errors import ConfigError, Problem
from bridge.event import Event
from bridge.wire.json_format import encode

MEANT_FOR_READING = frozenset({"ca", "cert", "key"})
"""Keys beside ``*_file`` that name a file the bridge reads."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes:
        errors: mistakes; with any of them the bridge does not start.
        warnings: what keeps a part of the bridge from working now.
        samples: an example of the events of each source.
        config: what was read, or None when it cannot be used.
    """

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    samples: tuple[tuple[str, Event], ...] = ()
    config: Config | None = None


def command(args: argparse.Namespace) -> int:
    """Prints what is wrong, then a sample event of each source; returns 0, or 78 when something is wrong."""
    findings = examine(args.config)
    if findings.config is not None:
        findings = replace(findings, warnings=(*findings.warnings, *orphans(findings.config)))
    if args.json:
        print(json.dumps(as_json(findings), indent=2, ensure_ascii=False))
    else:
        for line in lines(findings, args.config):
            print(line)
    return ConfigError.exit_code if findings.errors else 0


def examine(path: Path) -> Findings:
    """Everything that can be known about a configuration without opening a connection or a port."""
    try:
        config = load(path)
    except ConfigError as error:
        return Findings(error.problems)
    errors = [
        Problem(side, f"nothing is configured; add a table [{side}.NAME], see: edge-bridge sample")
        for side, tables in (("sources", config.sources), ("sinks", config.sinks))
        if not tables
    ]
    warnings = list(_warnings(config))
    samples: list[tuple[str, Event]] = []
    for name, sample in _samples(config):
        if isinstance(sample, str):
            # The templates themselves are legal, or the configuration would not have been loaded.
            warnings.append(Problem(f"sources.{name}.event", f"cannot be shown with made-up values: {sample}"))
            continue
        samples.append((name, sample))
        try:
            verify(sample)
        except ValueError as error:
            errors.append(Problem(f"sources.{name}.event", str(error)))
    return Findings(tuple(errors), tuple(warnings), tuple(samples), config)


def lines(findings: Findings, path: Path) -> Iterator[str]:
    """The findings for people."""
    for problem in findings.errors:
        yield f"error: {problem}"
    for problem in findings.warnings:
        yield f"warning: {problem}"
    for name, event in findings.samples:
        yield f"An event of the source {name} will look like this:"
        yield f"  {encode(event).decode()}"
    if findings.errors:
        yield f"{path}: {_count(len(findings.errors), 'mistake')}"
    elif findings.config is not None:
        sources = _count(len(findings.config.sources), "source")
        sinks = _count(len(findings.config.sinks), "sink")
        warnings = f", {_count(len(findings.warnings), 'warning')}" if findings.warnings else ""
        yield f"{path}: {sources}, {sinks}: OK{warnings}"


def as_json(findings: Findings) -> dict[str, object]:
    """The findings for programs: ``ok``, ``errors``, ``warnings``, and a sample event by source."""
    return {
        "ok": not findings.errors,
        "errors": [asdict(problem) for problem in findings.errors],
        "warnings": [asdict(problem) for problem in findings.warnings],
        "samples": {name: json.loads(encode(event)) for name, event in findings.samples},
    }


def _samples(config: Config) -> Iterator[tuple[str, Event | str]]:
    """An example of the events of each source, or why there is none."""
    for name, settings in config.sources.items():
        # One source at a time, so that a mistake in one hides nothing about the next.
        alone = replace(config, sources={name: settings}, sinks={})
        try:
            yield from sample_events(alone)
        except ValueError as error:
            yield name, str(error)


def _warnings(config: Config) -> Iterator[Problem]:
    if config.gateway.id.lower() in NO_ID:
        yield Problem(
            "gateway.id", f'is "{config.gateway.id}", a name that other gateways have, too; give each one its own'
        )
    for side, tables in (("sources", config.sources), ("sinks", config.sinks)):
        for name, settings in tables.items():
            for key, file in _files(settings, f"{side}.{name}"):
                trouble = _trouble(file, secret=not key.endswith((".ca", ".cert")))
                if trouble is not None:
                    yield Problem(key, trouble)


def _files(settings: BaseModel, at: str) -> Iterator[tuple[str, Path]]:
    """Every file that these settings tell the bridge to read."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from _files(value, f"{at}.{name}")
        elif isinstance(value, Path) and (name.endswith("_file") or name in MEANT_FOR_READING):
            yield f"{at}.{name}", value
        elif isinstance(value, Mapping) and name.endswith("_files"):
            yield from ((f"{at}.{name}.{key}", Path(file)) for key, file in value.items())


def _trouble(file: Path, *, secret: bool) -> str | None:
    try:
        with file.open("rb") as stream:
            empty = not stream.read(1)
            open_to_all = os.fstat(stream.fileno()).st_mode & stat.S_IROTH
    except PermissionError:
        return f"{file} may not be read by uid {os.getuid()}; check as the user of the service"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror or error}"
    if empty:
        return f"{file} is empty"
    if secret and open_to_all:
        return f"{file} may be read by every user of this machine; take that right away: chmod o-r {file}"
    return None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
