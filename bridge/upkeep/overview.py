"""``queue list`` and ``queue stat``: what lies in the queue, for whom, how old, and how much there may be."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict

from bridge.event import timestamp
from bridge.report import LaneReport
from bridge.spool.limits import Limits
from bridge.spool.spool import OPERATOR
from bridge.spool.survey import Survey, birth_of
from bridge.upkeep.desk import Desk
from bridge.upkeep.lines import Args, Upload, answer, items

Lines = AsyncGenerator[bytes, None]


async def list_(desk: Desk, args: Args, _: Upload) -> Lines:
    """Each lane (``lane``: that one) and the dead letters, with an item for every segment."""
    only = args.text("lane")
    surveys = await desk.lanes(only)
    if only is None:
        surveys.append(await desk.letters())
    for survey in surveys:
        async for line in desk.each(_segments(desk, survey)):
            yield line
    yield answer(path=str(desk.path), lanes=[_summary(desk, survey) for survey in surveys])


def _segments(desk: Desk, survey: Survey) -> Iterator[bytes]:
    for index, segment in enumerate(survey.segments):
        birth = birth_of(desk.files, survey, segment)
        stop = survey.stop_of(index)
        yield items(
            {
                "lane": survey.name,
                "file": segment.name,
                "first": segment.first,
                "stop": stop,
                "records": stop - segment.first,
                "bytes": segment.size,
                "begun": None if birth is None else timestamp(max(0, birth.moment.wall_ns)),
                "age": None if birth is None else birth.age(desk.clock),
            }
        )


def _summary(desk: Desk, survey: Survey) -> dict[str, object]:
    return {
        "name": survey.name,
        "configured": survey.name in desk.plans or OPERATOR in survey.cursors,
        "first": survey.start,
        "stop": survey.stop,
        "records": survey.stop - survey.start,
        "segments": len(survey.segments),
        "bytes": survey.bytes_used,
    }


async def stat(desk: Desk, _: Args, __: Upload) -> Lines:
    """How much waits in which lane and for which sink, since when, and what it costs."""
    spool = desk.spool
    report = None if spool is None else spool.report()
    live = {} if report is None else {lane.name: lane for lane in report.lanes}
    lanes = []
    for survey in await desk.lanes():
        plan = desk.plans.get(survey.name)
        part = None if spool is None else spool.lanes.get(survey.name)
        limits = part.limits if part is not None else None if plan is None else plan.limits
        lanes.append(
            {
                **_summary(desk, survey),
                "configured": plan is not None,
                "priority": None if plan is None else plan.priority,
                "oldest": await desk.oldest(survey, None),
                **_limits(limits),
                **_since_start(live.get(survey.name)),
                "sinks": [await _sink(desk, survey, sink) for sink in desk.sinks_of(survey)],
            }
        )
    letters = await desk.letters()
    dead = {
        **_summary(desk, letters),
        "open": letters.waiting(OPERATOR),
        **_limits(desk.letter_limits),
        **_since_start(None if report is None else report.letters),
    }
    yield answer(
        path=str(desk.path),
        running=desk.paced,
        lanes=lanes,
        dead_letters=dead,
        wear=None if report is None else asdict(report.wear),
        writable=None if report is None else report.writable,
        stalled=None if report is None else report.stalled,
        last_error=None if report is None else report.last_error,
    )


async def _sink(desk: Desk, survey: Survey, sink: str) -> dict[str, object]:
    waiting = survey.waiting(sink)
    return {
        "name": sink,
        "configured": desk.is_configured(survey.name, sink),
        "waiting": waiting,
        "oldest": await desk.oldest(survey, sink) if waiting else None,
    }


def _limits(limits: Limits | None) -> dict[str, object]:
    return {
        "max_bytes": None if limits is None else limits.max_bytes,
        "max_age": None if limits is None else limits.max_age,
        "min_free_disk": None if limits is None else limits.min_free_disk,
        "on_full": None if limits is None else limits.on_full,
    }


def _since_start(report: LaneReport | None) -> dict[str, object]:
    """What only a running bridge knows: it counts from its start on."""
    return {
        "full": None if report is None else report.full,
        "lost": None if report is None else report.lost,
        "damaged": None if report is None else report.damaged,
    }
