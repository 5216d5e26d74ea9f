"""``queue import``, ``purge`` and ``forget``: what changes the queue. Each is durable when it is answered."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial

from bridge.errors import CommandFailed, LaneFull
from bridge.event import Event
from bridge.ports import Offset
from bridge.spool.envelope import pack_event
from bridge.spool.log import Log
from bridge.spool.settings import DEFAULT_LANE
from bridge.spool.survey import Survey
from bridge.upkeep.desk import Desk
from bridge.upkeep.lines import Args, Upload, answer, items, progress
from bridge.wire.json_lines import decode_line

Lines = AsyncGenerator[bytes, None]
LINE_ROOM = 64 * 1024
"""A line may be twice as long as a record and that much more; no event that can be stored needs more."""

IMPORTED = "import"
"""The source that imported events are stored under; it has no receipts."""


async def import_(desk: Desk, args: Args, upload: Upload) -> Lines:
    """Stores the events of an uploaded file in ``lane``, as they are; ``from_line``: those before are passed over.

    A line that holds no event is refused with its number; all others are stored. An end in the middle of a line is
    the end of whoever sent it: that line does not count.
    """
    name = args.text("lane") or DEFAULT_LANE
    lane = _configured(desk, name)
    skip = (args.number("from_line") or 1) - 1
    stored = refused = number = 0
    async for read in _lines(upload, 2 * desk.max_record + LINE_ROOM):
        numbered = [(number + at, line) for at, line in enumerate(read, 1) if number + at > skip]
        number += len(read)
        payloads: list[bytes] = []
        for at, event in await desk.in_thread(partial(_read, numbered)):
            payload = event if isinstance(event, str) else _payload(desk, event)
            if isinstance(payload, str):
                refused += 1
                yield items({"line": at, "refused": payload})
            else:
                payloads.append(payload)
        if payloads:
            try:
                await lane.append(payloads)
            except LaneFull as error:
                raise CommandFailed(
                    f"{error}; {stored:,} events up to line {number - len(read)} are stored"
                ) from error
            stored += len(payloads)
        yield progress("events", stored, None, number)
    yield answer(lane=name, stored=stored, refused=refused, lines=number)


async def _lines(upload: Upload, longest: int) -> AsyncIterator[Sequence[bytes | None]]:
    """The whole lines in each piece of an upload; None for one that is longer than allowed."""
    rest, skipping = b"", False
    async for piece in upload:
        *whole, rest = (rest + piece).split(b"\n")
        found: list[bytes | None] = [line if len(line) <= longest else None for line in whole]
        if skipping and found:
            found[0] = None
            skipping = False
        if len(rest) > longest:
            rest, skipping = b"", True
        elif skipping:
            rest = b""
        if found:
            yield found


def _read(numbered: Sequence[tuple[int, bytes | None]]) -> list[tuple[int, Event | str]]:
    """The event in each line, or why there is none; empty lines are left out."""
    found: list[tuple[int, Event | str]] = []
    for at, line in numbered:
        if line is None:
            found.append((at, "the line is longer than any event that can be stored"))
        elif line.strip():
            try:
                found.append((at, decode_line(line)))
            except ValueError as error:
                found.append((at, str(error)))
    return found


def _payload(desk: Desk, event: Event) -> bytes | str:
    payload = pack_event(event, IMPORTED, desk.clock.now(), desk.clock.boot_id, None)
    if len(payload) > desk.max_record:
        return f"the event has {len(payload):,} bytes, more than max_record allows"
    return payload


def _configured(desk: Desk, name: str) -> Log:
    part = desk.open_spool.lanes.get(name)
    if part is None or name not in desk.plans:
        raise CommandFailed(
            f"there is no lane {name!r} in the configuration; its lanes are: {', '.join(desk.plans)}"
        )
    return part


async def purge(desk: Desk, args: Args, _: Upload) -> Lines:
    """Gives up the events of ``lane`` (or all lanes), ``before`` an offset or all; for ``sink`` or for all sinks.

    With ``only_tell`` nothing is done but to say how many each sink would lose.
    """
    surveys = await desk.lanes(args.text("lane"))
    sink = desk.sink_of(args.text("sink"), surveys)
    before = args.number("before")
    if before is not None and len(surveys) > 1:
        raise CommandFailed("an offset means something within one lane only: name the lane, too")
    done = []
    for survey in surveys:
        sinks = [name for name in desk.sinks_of(survey) if sink in (None, name)]
        if sink is not None and not sinks:
            continue
        stop = survey.stop if before is None else max(survey.start, min(before, survey.stop))
        if args.flag("only_tell"):
            counts = {name: survey.waiting(name, stop) for name in sinks}
            done.append({"name": survey.name, "records": stop - survey.start, "sinks": counts})
        else:
            lost = await _purge(desk.open_spool.lanes[survey.name], sink, stop)
            done.append({"name": survey.name, "stop": stop, "lost": lost})
    yield answer(lanes=done, sink=sink)


async def _purge(part: Log, sink: str | None, stop: Offset) -> int:
    return await part.purge(stop) if sink is None else await part.pass_over(sink, stop)


async def forget(desk: Desk, args: Args, _: Upload) -> Lines:
    """Removes the cursor of an orphaned ``sink`` (in ``lane`` or wherever it is), or a removed ``lane``.

    With ``only_tell`` nothing is done but to say what would be.
    """
    sink, lane = args.text("sink"), args.text("lane")
    surveys = await desk.lanes(lane)
    if sink is None:
        if lane is None:
            raise CommandFailed("say what: a sink, or a lane")
        (survey,) = surveys
        if not args.flag("only_tell"):
            await _forget_lane(desk, lane)
        yield answer(lane=lane, records=survey.stop - survey.start)
        return
    found = [survey for survey in surveys if sink in survey.cursors]
    if not found:
        orphans = sorted({name for survey in surveys for name in survey.cursors if _is_orphan(desk, survey, name)})
        raise CommandFailed(
            f"nothing is kept for a sink {sink!r}; the orphans are: {', '.join(orphans) or 'none'}"
        )
    mine = [survey for survey in found if _is_orphan(desk, survey, sink)]
    if not mine:
        raise CommandFailed(f"the sink {sink} is configured; only what nobody wants any more can be forgotten")
    for survey in mine:
        if args.flag("only_tell"):
            continue
        try:
            await desk.open_spool.lanes[survey.name].forget(sink)
        except ValueError as error:
            raise CommandFailed(f"lane {survey.name}: {error}") from error
    yield answer(sink=sink, lanes=[{"name": one.name, "waiting": one.waiting(sink)} for one in mine])


def _is_orphan(desk: Desk, survey: Survey, sink: str) -> bool:
    return not desk.is_configured(survey.name, sink)


async def _forget_lane(desk: Desk, lane: str) -> None:
    try:
        await desk.open_spool.forget_lane(lane)
    except ValueError as error:
        raise CommandFailed(str(error)) from error
