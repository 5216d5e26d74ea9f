"""All verbs by their names."""

from collections.abc import AsyncGenerator, Callable, Mapping

from bridge.upkeep import changes, letters, overview, records
from bridge.upkeep.desk import Desk
from bridge.upkeep.lines import Args, Upload
from bridge.upkeep.retry import retry

Verb = Callable[[Desk, Args, Upload], AsyncGenerator[bytes, None]]

READING: Mapping[str, Verb] = {
    "queue list": overview.list_,
    "queue stat": overview.stat,
    "queue peek": records.peek,
    "queue export": records.export,
    "queue verify": records.verify_,
    "dead-letters list": letters.list_,
    "dead-letters show": letters.show,
    "dead-letters export": letters.export,
}
"""Verbs that only look: they need no lock, and no owner of the spool."""

CHANGING: Mapping[str, Verb] = {
    "queue import": changes.import_,
    "queue purge": changes.purge,
    "queue forget": changes.forget,
    "dead-letters retry": retry,
    "dead-letters drop": letters.drop,
}
"""Verbs that change something: they work on an open spool."""

UPLOADING = frozenset({"queue import"})
"""Verbs that are sent something after their request."""

VERBS: Mapping[str, Verb] = {**READING, **CHANGING}

Stream = Callable[[Mapping[str, object], Upload], AsyncGenerator[bytes, None]]
"""A verb with its desk, given plain arguments."""


def streams_of(desk: Desk) -> Mapping[str, Stream]:
    """Every verb at one desk."""

    def stream(verb: Verb) -> Stream:
        return lambda args, upload: verb(desk, Args(args), upload)

    return {name: stream(verb) for name, verb in VERBS.items()}
