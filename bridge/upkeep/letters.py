"""``dead-letters list``, ``show``, ``export`` and ``drop``: what can never be delivered or decoded, and why."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from bridge.errors import CommandFailed
from bridge.event import timestamp
from bridge.ports import Offset
from bridge.spool.browse import browse
from bridge.spool.envelope import DeadLetter, unpack_dead_letter
from bridge.spool.spool import OPERATOR
from bridge.spool.survey import Survey
from bridge.upkeep.desk import Desk, is_open
from bridge.upkeep.lines import Args, Upload, answer, item, items, joined, progress, text
from bridge.wire.json_lines import encode_line

Lines = AsyncGenerator[bytes, None]
Letters = list[tuple[Offset, DeadLetter | str]]
"""Letters by their offset; instead of one that cannot be read, why."""

SOURCE, SINK = "source ", "sink "
"""How the component of a letter begins."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant.

    Attributes:
        offsets: these only; empty for all.
        source: those of this source.
        sink: those of this sink.
    """

    offsets: frozenset[Offset]
    source: str | None
    sink: str | None

    @classmethod
    def of(cls, args: Args, *, explicit: bool) -> "Choice":
        """What the arguments say; an ``explicit`` choice names offsets, a component, or ``all``."""
        choice = cls(frozenset(args.numbers("offsets")), args.text("source"), args.text("sink"))
        if explicit and not (choice.offsets or choice.source or choice.sink or args.flag("all")):
            raise CommandFailed("say which: offsets, a source, a sink, or all")
        return choice

    def takes(self, letter: DeadLetter | str) -> bool:
        """Whether a letter, as far as it can be read, comes from the chosen component."""
        if self.source is None and self.sink is None:
            return True
        component = "" if isinstance(letter, str) else letter.component
        wanted = (self.source and SOURCE + self.source, self.sink and SINK + self.sink)
        return component in wanted

    def stretches(self, letters: Survey) -> list[tuple[Offset, Offset]]:
        """Where to look: from each first to behind the last offset."""
        if not self.offsets:
            return [(letters.low(OPERATOR), letters.stop)]
        return [(offset, offset + 1) for offset in sorted(self.offsets)]


def chosen(desk: Desk, letters: Survey, choice: Choice) -> Iterator[Letters]:
    """The open letters that are meant, in bounded pieces. Blocking."""
    for first, stop in choice.stretches(letters):
        for chunk in browse(desk.files, letters, first, stop, gone=desk.gone(letters)):
            found: Letters = []
            for offset, payload in zip(chunk.offsets, chunk.payloads, strict=True):
                if not is_open(letters, offset):
                    continue
                letter = _letter(payload)
                if choice.takes(letter):
                    found.append((offset, letter))
            yield found


def _letter(payload: bytes) -> DeadLetter | str:
    try:
        return unpack_dead_letter(payload)
    except ValueError as error:
        return str(error)


async def list_(desk: Desk, args: Args, _: Upload) -> Lines:
    """The open letters, those of ``source`` or ``sink`` only; at most ``count``."""
    letters = await desk.letters()
    choice = Choice.of(args, explicit=False)
    count = args.number("count")
    shown = matching = 0
    async for found in desk.each(chosen(desk, letters, choice)):
        matching += len(found)
        wanted = found if count is None else found[: max(0, count - shown)]
        shown += len(wanted)
        if wanted:
            yield b"".join([items(_head(offset, letter)) for offset, letter in wanted])
    yield answer(shown=shown, matching=matching, open=letters.waiting(OPERATOR))


async def show(desk: Desk, args: Args, _: Upload) -> Lines:
    """The letters at ``offsets``, whole."""
    letters = await desk.letters()
    choice = Choice.of(args, explicit=True)
    seen: set[Offset] = set()
    async for found in desk.each(chosen(desk, letters, choice)):
        for offset, letter in found:
            seen.add(offset)
            yield whole(offset, letter)
    yield answer(missing=sorted(choice.offsets - seen))


async def export(desk: Desk, args: Args, _: Upload) -> Lines:
    """The letters that are meant (all, if nothing is said), whole."""
    letters = await desk.letters()
    exported = 0
    async for found in desk.each(chosen(desk, letters, Choice.of(args, explicit=False))):
        exported += len(found)
        yield b"".join([whole(offset, letter) for offset, letter in found]) + progress("letters", exported)
    yield answer(exported=exported)


async def drop(desk: Desk, args: Args, _: Upload) -> Lines:
    """Gives up the letters that are meant; with ``only_tell`` says how many they are."""
    choice = Choice.of(args, explicit=True)
    count = 0
    async with desk.alone:
        letters = await desk.letters()
        async for found in desk.each(chosen(desk, letters, choice)):
            offsets = [offset for offset, _ in found]
            if not args.flag("only_tell") and offsets:
                await desk.open_spool.dead_letters.discard(OPERATOR, offsets)
            count += len(offsets)
            yield progress("letters", count)
    yield answer(letters=count)


def whole(offset: Offset, letter: DeadLetter | str) -> bytes:
    """The line with all of a letter: its event as a CloudEvent, or the bytes of its frame in Base64."""
    head = _head(offset, letter)
    if isinstance(letter, str):
        return items(head)
    head["contenttype"] = letter.contenttype
    head["captures"] = dict(letter.captures)
    if letter.event is not None:
        return item(joined(head, "event", encode_line(letter.event)))
    return item(joined(head, "frame_base64", text(b64encode(letter.frame or b"").decode())))


def _head(offset: Offset, letter: DeadLetter | str) -> dict[str, object]:
    if isinstance(letter, str):
        return {"offset": offset, "error": letter}
    event = letter.event
    return {
        "offset": offset,
        "reason": letter.reason,
        "component": letter.component,
        "tries": letter.tries,
        "first": timestamp(max(0, letter.first_ns)),
        "last": timestamp(max(0, letter.last_ns)),
        "origin": letter.origin,
        "lane": letter.lane,
        "id": None if event is None else event.id,
        "type": None if event is None else event.type,
        "bytes": len((letter.frame if event is None else event.data) or b""),
    }
