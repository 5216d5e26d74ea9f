"""``edge-bridge queue``: what waits in the on-disk queue, to be seen, taken out, brought in, checked, given up."""

from bridge.cli.table import BOTH, YES, Verb, argument, whole

_HERE = "bridge.cli.queue"

_LANE = argument("--lane", metavar="NAME", help="this lane only (default: all)")
_SINK = argument("--sink", metavar="NAME", help="only what this sink has not confirmed")
_FROM = argument("--from", dest="first", type=whole, metavar="OFFSET", help="from this record of the lane on")

QUEUE = Verb(
    "look into the on-disk queue, take events out and bring them in, check it, give up what nobody wants",
    verbs={
        "list": Verb(
            "list the lanes and their segments: which records, how many bytes, how old",
            f"{_HERE}.listing",
            BOTH,
            arguments=(_LANE,),
        ),
        "stat": Verb(
            "show what waits in each lane for each sink, since when, the limits, and what was lost",
            f"{_HERE}.stat",
            BOTH,
        ),
        "peek": Verb(
            "show the next events of a lane, or the next that a sink has not confirmed",
            f"{_HERE}.peek",
            BOTH,
            arguments=(
                _LANE,
                _SINK,
                _FROM,
                argument("--count", type=whole, default=10, metavar="N", help="at most so many (default: 10)"),
            ),
            details="With --json each event is one line.",
        ),
        "export": Verb(
            "write events as CloudEvents, one JSON object on each line",
            f"{_HERE}.export",
            frozenset({"config"}),
            verdict=True,
            arguments=(
                _LANE,
                _SINK,
                _FROM,
                argument("-o", "--output", metavar="FILE", help="write to a file instead of the standard output"),
            ),
            details=(
                "Nothing leaves the queue by it. The file appears under its name when it is complete and on the "
                "disk. Data that a line of JSON would change is written in Base64."
            ),
        ),
        "import": Verb(
            "store the events of a file that export wrote, or of any file of CloudEvents, one on each line",
            f"{_HERE}.importing",
            BOTH,
            verdict=True,
            arguments=(
                argument("file", nargs="?", default="-", metavar="FILE", help="default: standard input"),
                argument("--lane", metavar="NAME", help='into this lane (default: "default")'),
                argument(
                    "--from-line", type=whole, default=1, metavar="N", help="go on with this line of the file"
                ),
            ),
            details=(
                "Every attribute and every byte of data is kept, ids included. A line that holds no event is "
                "refused, with its number, the others are stored. All sinks of the lane get the events."
            ),
        ),
        "verify": Verb(
            "check every record of every segment; the exit code is 1 when there is damage",
            f"{_HERE}.verify",
            BOTH,
            verdict=True,
            arguments=(_LANE,),
            details="Only reads.",
        ),
        "purge": Verb(
            "give up events that wait",
            f"{_HERE}.purge",
            BOTH,
            arguments=(
                argument("--lane", metavar="NAME", help="those of this lane (default: of all lanes)"),
                argument("--sink", metavar="NAME", help="for this sink only; others still get them"),
                argument("--before", type=whole, metavar="OFFSET", help="those before this record of the lane"),
                YES,
            ),
            details="Export them first if you may want them again. Every event given up is counted and logged.",
        ),
        "forget": Verb(
            "remove what is kept for a sink, or in a lane, that is not configured any more",
            f"{_HERE}.forget",
            BOTH,
            arguments=(
                argument("--sink", metavar="NAME", help="the sink"),
                argument("--lane", metavar="NAME", help="the lane; together with --sink: in this lane only"),
                YES,
            ),
            details="What is configured cannot be forgotten.",
        ),
    },
)
