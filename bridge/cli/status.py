"""``edge-bridge status``: what the running bridge says about itself."""

import argparse
import json
from collections.abc import Iterator

from pydantic import TypeAdapter

from bridge.config.load import load
from bridge.host.control import ask
from bridge.report import BridgeReport, SinkReport, SourceReport, SpoolReport
from bridge.run.health import spell

_REPORT = TypeAdapter(BridgeReport)


def command(args: argparse.Namespace) -> int:
    """Prints the status, for people or with ``--json`` as the fields of ``BridgeReport``; returns 0.

    Raises:
        NotRunning: no bridge answers.
        ConfigError: the configuration, which names the control socket, cannot be read.
    """
    answer = ask(load(args.config).control_socket, "status")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for line in lines(_REPORT.validate_python(answer)):
        print(line)
    return 0


def lines(report: BridgeReport) -> Iterator[str]:
    """The status as lines for people."""
    state = "stopping" if report.stopping else "running"
    clock = "" if report.clock_synchronised else ", clock not synchronised"
    yield (
        f"edge-bridge {report.version} on {report.gateway}: {state} for {spell(report.uptime)}"
        f" (pid {report.pid}{clock})"
    )
    yield ""
    yield "SOURCES"
    for source in report.sources:
        yield from _source(source)
    yield ""
    yield "SINKS"
    for sink in report.sinks:
        yield from _sink(sink)
    yield ""
    yield "SPOOL"
    yield from _spool(report.spool)


def _source(source: SourceReport) -> Iterator[str]:
    yield f"  {source.name} ({source.kind}) {source.state} for {spell(source.since)}: {source.peer}"
    latest = "nothing yet" if source.last_reading is None else f"latest {spell(source.last_reading)} ago"
    yield (f"    received {source.received:,} ({latest}), stored {source.stored:,}, dead letters {source.dead:,}")
    for reason, count in source.lost.items():
        yield f"    lost {count:,}: {reason}"
    if source.state != "up" and source.last_error:
        yield f"    error: {source.last_error}"


def _sink(sink: SinkReport) -> Iterator[str]:
    yield f"  {sink.name} ({sink.kind}) {sink.state} for {spell(sink.since)}: {sink.peer}"
    oldest = "" if sink.oldest is None else f", oldest {spell(sink.oldest)}"
    yield f"    delivered {sink.delivered:,}, waiting {sink.waiting:,}{oldest}"
    if sink.rejected or sink.skipped:
        yield f"    dead letters {sink.rejected:,}, lost to limits or damage {sink.skipped:,}"
    if sink.state != "up" and sink.last_error:
        yield f"    error: {sink.last_error}"


def _spool(spool: SpoolReport) -> Iterator[str]:
    share = 100 * spool.bytes_used / spool.max_bytes if spool.max_bytes else 0
    yield f"  {spool.path}: {_size(spool.bytes_used)} of {_size(spool.max_bytes)} ({share:.0f} %)"
    yield (
        f"    {spool.events:,} events, {spool.dead_letters:,} dead letters, "
        f"{spool.dropped:,} dropped by the limit, {spool.damaged:,} lost to damage"
    )
    if not spool.writable:
        yield "    CANNOT BE WRITTEN: readings are not acknowledged until it can"
    if spool.last_error:
        yield f"    {'latest error' if spool.writable else 'error'}: {spool.last_error}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
