"""The status for people: every number that matters, and an error only while it matters."""

from dataclasses import asdict, replace

from pydantic import TypeAdapter

from bridge.cli.status import lines
from bridge.report import BridgeReport, LaneReport, SinkReport, SourceReport, SpoolReport, WearReport

SOURCE = SourceReport(
    "boiler", "serial", "/dev/ttyUSB0", "up", 60, 1000, 998, 2, {"overflow": 5}, "unplugged", 1.5
)
SINK = SinkReport("cloud", "amqp", "amqps://b/telemetry", "down", 3600, 500, 1, 12345, 6, 7, 3700, 9, "refused")
LANE = LaneReport(
    name="default",
    priority=0,
    configured=True,
    on_full="block",
    first=0,
    stop=12345,
    events=12345,
    bytes_used=5 << 20,
    max_bytes=1 << 30,
    max_age=None,
    commit_interval=0.5,
    full=None,
    lost={"max_bytes": 4},
    damaged=5,
    orphans={"old": 77},
)
LETTERS = replace(LANE, name="dead-letters", events=3, lost={}, damaged=0, orphans={})
WEAR = WearReport(
    payload=1 << 20, written=2 << 20, blocks=4 << 20, syncs=99, sync_seconds=2.0, slowest_sync=0.25, commits=80
)
SPOOL = SpoolReport("/var/lib/x", 5 << 20, 12345, 3, 4, 5, True, 0.0, None, (LANE,), LETTERS, WEAR)
REPORT = BridgeReport("1.0", 42, "gw", 86400, False, True, SPOOL, (SOURCE,), (SINK,))


def text(report: BridgeReport) -> str:
    return "\n".join(lines(report))


def test_it_answers_what_waits_how_old_it_is_and_why() -> None:
    shown = text(REPORT)
    for fact in ("12,345", "oldest 1 h 1 min", "error: refused", "down for 1 h 0 min", "amqps://b/telemetry"):
        assert fact in shown


def test_every_loss_is_shown_with_its_reason() -> None:
    shown = text(REPORT)
    for fact in (
        "lost 5: overflow",
        "dead letters 2",
        "lost 4: max_bytes",
        "lost 5: damaged",
        "or damage 6",
        "too old 7",
        "77 wait for old",
    ):
        assert fact in shown


def test_an_error_that_is_over_is_not_shown() -> None:
    assert "unplugged" not in text(REPORT)


def test_a_disk_that_cannot_be_written_is_shouted() -> None:
    broken = replace(REPORT, spool=replace(SPOOL, writable=False, last_error="Input/output error"))
    assert "CANNOT BE WRITTEN" in text(broken)
    assert "Input/output error" in text(broken)


def test_a_full_lane_is_shouted() -> None:
    full = replace(REPORT, spool=replace(SPOOL, lanes=(replace(LANE, full="max_bytes"),)))
    assert "FULL (max_bytes), on_full = block" in text(full)


def test_a_disk_that_does_not_answer_is_shouted() -> None:
    assert "NOT ANSWERED" in text(replace(REPORT, spool=replace(SPOOL, stalled=42.0)))
    assert "NOT ANSWERED" not in text(REPORT)


def test_each_lane_says_what_a_power_cut_takes() -> None:
    assert "a power cut takes nothing acknowledged, of serial devices at most the last 0.5 s" in text(REPORT)


def test_the_wear_is_told_with_the_life_of_a_card() -> None:
    shown = text(REPORT)
    assert "99 syncs" in shown
    assert "amplification 4.0" in shown
    assert "a 16 GB card lasts more than 50 years" in shown


def test_an_error_that_the_disk_got_over_is_not_shown_as_a_present_one() -> None:
    mended = replace(REPORT, spool=replace(SPOOL, writable=True, last_error="No space left on device"))
    assert "    latest error: No space left on device" in text(mended)


def test_the_report_survives_its_way_through_json() -> None:
    adapter = TypeAdapter(BridgeReport)
    assert adapter.validate_json(adapter.dump_json(REPORT)) == REPORT
    assert adapter.validate_python(asdict(REPORT)) == REPORT
