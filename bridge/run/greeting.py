"""What is said of the spool at a start: what a power cut may cost, and what lies there without an owner."""

from collections.abc import Iterator

from bridge.report import LaneReport, SpoolReport
from bridge.run.health import events


def durability(report: SpoolReport) -> Iterator[str]:
    """The promise of each lane, in words: what a power cut may take. Lanes that promise the same share a line."""
    promises: dict[str, list[str]] = {}
    for lane in report.lanes:
        promises.setdefault(loss_window(lane), []).append(lane.name)
    for window, names in promises.items():
        lanes = "every lane" if len(promises) == 1 else f"lane {', '.join(names)}"
        yield f"{lanes}: a power cut takes nothing that was acknowledged; {window}"


def loss_window(lane: LaneReport) -> str:
    """What a power cut takes of a device that cannot repeat what it said."""
    if not lane.commit_interval:
        return "of serial devices what came while the disk was written last (commit_interval = 0)"
    return f"of serial devices at most the last {lane.commit_interval:g} s (commit_interval)"


def leftovers(report: SpoolReport) -> Iterator[str]:
    """What lies in the spool and belongs to nobody in the configuration, one line for each."""
    for lane in report.lanes:
        for sink, waiting in lane.orphans.items():
            yield (
                f"lane {lane.name} keeps {events(waiting)} for a sink {sink!r} that is not configured (any more): "
                "they stay until a limit takes them. Name a sink so again to deliver them, or forget it: "
                f"edge-bridge queue forget --sink {sink} --lane {lane.name}"
            )
        if not lane.configured:
            yield (
                f"lane {lane.name} is not configured any more; what is left in it is still delivered. When it is "
                f"empty, remove it: edge-bridge queue forget --lane {lane.name}"
            )
