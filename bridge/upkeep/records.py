"""``queue peek``, ``export`` and ``verify``: the records themselves. Nothing here changes anything."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from functools import partial

from bridge.errors import CommandFailed
from bridge.event import timestamp
from bridge.ports import Offset
from bridge.spool.browse import browse
from bridge.spool.envelope import Stored, unpack_dead_letter, unpack_event
from bridge.spool.reading import Chunk
from bridge.spool.survey import Survey
from bridge.spool.verify import Check, Checked, Finding, verify
from bridge.upkeep.desk import Desk
from bridge.upkeep.lines import Args, Upload, answer, item, items, joined, progress
from bridge.wire.json_lines import encode_line

Lines = AsyncGenerator[bytes, None]

PEEK = 10
"""How many events ``peek`` shows when nobody says how many."""


async def peek(desk: Desk, args: Args, _: Upload) -> Lines:
    """The next ``count`` events of ``lane`` (or all lanes, in their order), ``from`` an offset on.

    With ``sink`` only what that sink has not confirmed.
    """
    wanted = args.number("count")
    left = PEEK if wanted is None else wanted
    surveys, sink = await _selection(desk, args)
    for survey in surveys:
        view = _View(desk, survey, sink)
        chunks = view.chunks(_first(survey, sink, args.number("from")))
        while left > 0 and (chunk := await desk.in_thread(partial(next, chunks, None))) is not None:
            shown = list(view.shown(chunk))[:left]
            left -= len(shown)
            yield b"".join(shown)
    yield answer(lanes=[survey.name for survey in surveys], sink=sink)


async def export(desk: Desk, args: Args, _: Upload) -> Lines:
    """Every event of ``lane`` (or all lanes), with ``sink`` only what that sink has not confirmed: CloudEvents."""
    surveys, sink = await _selection(desk, args)
    firsts = [_first(survey, sink, args.number("from")) for survey in surveys]
    total = sum(max(0, survey.stop - first) for survey, first in zip(surveys, firsts, strict=True))
    tally = _Tally()
    for survey, first in zip(surveys, firsts, strict=True):
        view = _View(desk, survey, sink)
        before = tally.passed
        async for blob, at in desk.each(view.exported(first, tally)):
            tally.passed = before + at - first
            yield blob + progress("events", tally.passed, total)
    yield answer(exported=tally.exported, unreadable=tally.unreadable, lost=tally.lost)


async def verify_(desk: Desk, args: Args, _: Upload) -> Lines:
    """Checks every record of every segment of ``lane``, or of all lanes and the dead letters."""
    only = args.text("lane")
    checks: list[tuple[Survey, Check]] = [(survey, unpack_event) for survey in await desk.lanes(only)]
    if only is None:
        checks.append((await desk.letters(), unpack_dead_letter))
    total = sum(survey.bytes_used for survey, _ in checks)
    done = records = damaged = lost = 0
    for survey, check in checks:
        async for found in desk.each(verify(desk.files, survey, check, gone=desk.gone(survey))):
            if isinstance(found, Checked):
                done, records = done + found.size, records + found.records
                yield progress("bytes", done, total)
                continue
            damaged += found.damage
            lost += (found.stop - found.first) if found.damage else 0
            yield _finding(survey, found)
    yield answer(records=records, bytes=done, damaged=damaged, lost=lost)


def _finding(survey: Survey, found: Finding) -> bytes:
    return items({"lane": survey.name, "path": str(survey.directory / found.file), **asdict(found)})


async def _selection(desk: Desk, args: Args) -> tuple[list[Survey], str | None]:
    """The lanes and the sink that are meant."""
    surveys = await desk.lanes(args.text("lane"))
    sink = desk.sink_of(args.text("sink"), surveys)
    if args.number("from") is not None and len(surveys) > 1:
        raise CommandFailed("an offset means something within one lane only: name the lane, too")
    if sink is not None:
        surveys = [survey for survey in surveys if sink in desk.sinks_of(survey)]
    return surveys, sink


def _first(survey: Survey, sink: str | None, given: Offset | None) -> Offset:
    first = survey.start if sink is None else survey.low(sink)
    return first if given is None else max(first, given)


@dataclass(slots=True)
class _Tally:
    """What an export came to."""

    passed: int = 0
    exported: int = 0
    unreadable: int = 0
    lost: int = 0


class _View:
    """One lane, as far as one sink (or nobody in particular) wants it. Blocking."""

    def __init__(self, desk: Desk, survey: Survey, sink: str | None) -> None:
        self._desk = desk
        self._survey = survey
        self._sink = sink

    def chunks(self, first: Offset) -> Iterator[Chunk]:
        """The records from an offset on."""
        return browse(self._desk.files, self._survey, first, gone=self._desk.gone(self._survey))

    def exported(self, first: Offset, tally: _Tally) -> Iterator[tuple[bytes, Offset]]:
        """The lines of each chunk, and the offset behind it."""
        for chunk in self.chunks(first):
            lines = []
            for _, stored in self._wanted(chunk):
                if isinstance(stored, Stored):
                    lines.append(item(encode_line(stored.event)))
                else:
                    tally.unreadable += 1
            tally.exported += len(lines)
            tally.lost += sum(damage.stop - damage.first for damage in chunk.damage)
            yield b"".join(lines), chunk.next

    def shown(self, chunk: Chunk) -> Iterator[bytes]:
        """A line for each record and each stretch of damage, in their order."""
        lines: list[tuple[Offset, bytes]] = []
        for damage in chunk.damage:
            lost = {"lane": self._survey.name, "offset": damage.first, "lost": damage.stop - damage.first}
            lines.append((damage.first, items(lost)))
        for offset, stored in self._wanted(chunk):
            head: dict[str, object] = {"lane": self._survey.name, "offset": offset}
            if isinstance(stored, Stored):
                head["received"] = timestamp(max(0, stored.received.wall_ns))
                head["age"] = self._desk.age(stored)
                head["by"] = stored.source
                head["only"] = stored.only
                lines.append((offset, item(joined(head, "event", encode_line(stored.event)))))
            else:
                lines.append((offset, items({**head, "error": str(stored)})))
        return (line for _, line in sorted(lines))

    def _wanted(self, chunk: Chunk) -> Iterator[tuple[Offset, Stored | ValueError]]:
        for offset, payload in zip(chunk.offsets, chunk.payloads, strict=True):
            if self._sink is not None and self._survey.is_settled(self._sink, offset):
                continue
            try:
                stored = unpack_event(payload)
            except ValueError as error:
                yield offset, error
                continue
            if self._sink is None or stored.only in (None, self._sink):
                yield offset, stored
