"""``edge-bridge status``: what the running bridge says about itself."""

import argparse
import json
from collections.abc import Iterator

from pydantic import TypeAdapter

from bridge.cli import wear
from bridge.cli.sizes import size
from bridge.config.load import load
from bridge.host.control import ask
from bridge.report import BridgeReport, LaneReport, SinkReport, SourceReport, SpoolReport
from bridge.run.greeting import loss_window
from bridge.run.health import spell
from bridge.spool.spool import DEAD_LETTERS, STALL

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
    yield from _spool(report.spool, report.uptime)


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
    if sink.rejected or sink.skipped or sink.expired:
        expired = f", too old {sink.expired:,}" if sink.expired else ""
        yield f"    dead letters {sink.rejected:,}, lost to limits or damage {sink.skipped:,}{expired}"
    if sink.state != "up" and sink.last_error:
        yield f"    error: {sink.last_error}"


def _spool(spool: SpoolReport, uptime: float) -> Iterator[str]:
    yield f"  {spool.path}"
    for lane in spool.lanes:
        yield from _lane(lane)
    yield from _lane(spool.letters)
    yield f"    {wear.line(spool.wear, uptime)}"
    if not spool.writable:
        yield "    CANNOT BE WRITTEN: readings are not acknowledged until it can"
    if spool.stalled > STALL:
        yield f"    THE DISK HAS NOT ANSWERED for {spool.stalled:.0f} s: nothing is acknowledged until it does"
    if spool.last_error:
        yield f"    {'latest error' if spool.writable else 'error'}: {spool.last_error}"


def _lane(lane: LaneReport) -> Iterator[str]:
    share = 100 * lane.bytes_used / lane.max_bytes if lane.max_bytes else 0
    what = "events" if lane.name != DEAD_LETTERS else "open"
    shown = lane.priority and lane.configured and lane.name != DEAD_LETTERS
    priority = f", priority {lane.priority}" if shown else ""
    left = "" if lane.configured else ", not configured any more"
    yield (
        f"    {lane.name}: {lane.events:,} {what}, {size(lane.bytes_used)} of {size(lane.max_bytes)}"
        f" ({share:.0f} %){priority}{left}"
    )
    if lane.full:
        yield f"      FULL ({lane.full}), on_full = {lane.on_full}"
    for reason, count in lane.lost.items():
        yield f"      lost {count:,}: {reason}"
    if lane.damaged:
        yield f"      lost {lane.damaged:,}: damaged on the disk"
    for sink, waiting in lane.orphans.items():
        yield f"      {waiting:,} wait for {sink}, which is not configured"
    if lane.name != DEAD_LETTERS and lane.configured:
        yield f"      a power cut takes nothing acknowledged, {loss_window(lane)}"
