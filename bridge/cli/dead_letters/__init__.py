"""``edge-bridge dead-letters``: what could never be decoded or delivered, and what to do with it."""

from bridge.cli.table import BOTH, YES, Verb, argument, whole

_HERE = "bridge.cli.dead_letters"

_SOURCE = argument("--source", metavar="NAME", help="those of this source")
_SINK = argument("--sink", metavar="NAME", help="those of this sink")
_SOME = argument("offsets", nargs="*", type=whole, metavar="OFFSET", help="those with these numbers")
_ALL = argument("--all", action="store_true", help="all of them")

DEAD_LETTERS = Verb(
    "see what could never be decoded or delivered and why, try it again, or drop it",
    verbs={
        "list": Verb(
            "list the dead letters: which, from where, since when, and why",
            f"{_HERE}.listing",
            BOTH,
            arguments=(
                _SOURCE,
                _SINK,
                argument("--count", type=whole, metavar="N", help="at most so many"),
            ),
            details="With --json each letter is one line.",
        ),
        "show": Verb(
            "show a letter whole: why, who, how often, when, and the original bytes",
            f"{_HERE}.show",
            BOTH,
            arguments=(argument("offsets", nargs="+", type=whole, metavar="OFFSET", help="its number"),),
            details="With --json each letter is one line.",
        ),
        "retry": Verb(
            "try letters again: events go to the sink that refused them, frames to the decoder of their source",
            f"{_HERE}.retry",
            BOTH,
            verdict=True,
            arguments=(_SOME, _SOURCE, _SINK, _ALL),
            details=(
                "An event keeps its id and bytes, and no other sink gets it. A letter that cannot be tried again "
                "stays, and why is said; the exit code is then 1."
            ),
        ),
        "export": Verb(
            "write letters as JSON, one on each line, with their events or original bytes",
            f"{_HERE}.export",
            frozenset({"config"}),
            verdict=True,
            arguments=(
                _SOME,
                _SOURCE,
                _SINK,
                argument("-o", "--output", metavar="FILE", help="write to a file instead of the standard output"),
            ),
        ),
        "drop": Verb(
            "give letters up",
            f"{_HERE}.drop",
            BOTH,
            arguments=(_SOME, _SOURCE, _SINK, _ALL, YES),
            details="Export them first if you may want them again.",
        ),
    },
)
