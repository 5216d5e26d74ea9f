"""The records of a log, read for people: in order, from any offset on, whatever a cursor thinks. Blocking.

Nothing is written, counted or kept; memory is bounded by one chunk. A segment that is deleted meanwhile, because
every sink has what it held, is passed over.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from bridge.errors import SpoolUnusable
from bridge.ports import Offset
from bridge.spool.files import Files
from bridge.spool.layout import CHUNK, HEADER_SIZE, Segment
from bridge.spool.reading import Chunk, Damage, Place, Reading
from bridge.spool.survey import Survey

Gone = Callable[[Segment], bool]
"""Whether a segment that cannot be found any more has left the log; otherwise its absence is damage."""


def deleted_meanwhile(_: Segment) -> bool:
    """Of a log found by its names alone: what was there a moment ago was deleted by its owner."""
    return True


def browse(
    files: Files,
    survey: Survey,
    first: Offset,
    stop: Offset | None = None,
    *,
    gone: Gone = deleted_meanwhile,
    budget: int = CHUNK,
) -> Iterator[Chunk]:
    """Chunks of about ``budget`` bytes: records from ``first`` up to ``stop``, and the damage between them.

    Raises:
        SpoolUnusable: a segment cannot be read for a reason that says nothing about its bytes.
    """
    stop = survey.stop if stop is None else min(stop, survey.stop)
    offset, place = max(first, survey.start, survey.segments[0].first if survey.segments else 0), None
    while offset < stop:
        index = survey.index_of(offset)
        chunk = _chunk(files, survey, index, offset, min(stop, survey.stop_of(index)), place, gone, budget)
        # What was never finished is no damage.
        chunk.damage = [damage for damage in chunk.damage if not damage.known and damage.first < survey.proven]
        offset, place = max(chunk.next, offset + 1), chunk.place
        yield chunk


def _chunk(
    files: Files,
    survey: Survey,
    index: int,
    offset: Offset,
    stop: Offset,
    place: Place | None,
    gone: Gone,
    budget: int,
) -> Chunk:
    segment = survey.segments[index]
    behind = survey.stop_of(index)
    if place is None or place.generation != segment.generation:
        place = Place(segment.generation, HEADER_SIZE, segment.first)
    job = Reading(
        files=files,
        path=survey.directory / segment.name,
        segment=segment,
        place=place,
        want=offset,
        stop=stop,
        end=survey.end_of(index),
        budget=budget,
        final=True,
    )
    if not is_there(files, survey, segment):
        missing = [] if gone(segment) else [Damage(offset, behind, 0, b"")]
        return Chunk(next=behind, damage=missing)
    try:
        chunk = job.run()
    except OSError as error:
        raise SpoolUnusable(f"{job.path} cannot be read: {error.strerror}") from error
    if chunk.damage and not is_there(files, survey, segment) and gone(segment):
        return Chunk(chunk.offsets, chunk.payloads, next=behind)
    return chunk


def is_there(files: Files, survey: Survey, segment: Segment) -> bool:
    """Whether the file of a segment can still be found."""
    try:
        fd = files.open(survey.directory / segment.name, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        files.close(fd)
    return True
