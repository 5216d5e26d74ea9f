"""The status for people: every number that matters, and an error only while it matters."""

from dataclasses import asdict, replace

from pydantic import TypeAdapter

from bridge.cli.status import lines
from bridge.report import BridgeReport, SinkReport, SourceReport, SpoolReport

SOURCE = SourceReport(
    "boiler", "serial", "/dev/ttyUSB0", "up", 60, 1000, 998, 2, {"overflow": 5}, "unplugged", 1.5
)
SINK = SinkReport("cloud", "amqp", "amqps://b/telemetry", "down", 3600, 500, 1, 12345, 6, 3700, 9, "refused")
SPOOL = SpoolReport("/var/lib/x", 5 << 20, 1 << 30, 12345, 3, 4, 5, True, None)
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
        "4 dropped by the limit",
        "5 lost to damage",
        "or damage 6",
    ):
        assert fact in shown


def test_an_error_that_is_over_is_not_shown() -> None:
    assert "unplugged" not in text(REPORT)


def test_a_disk_that_cannot_be_written_is_shouted() -> None:
    broken = replace(REPORT, spool=replace(SPOOL, writable=False, last_error="Input/output error"))
    assert "CANNOT BE WRITTEN" in text(broken)
    assert "Input/output error" in text(broken)


def test_an_error_that_the_disk_got_over_is_not_shown_as_a_present_one() -> None:
    mended = replace(REPORT, spool=replace(SPOOL, writable=True, last_error="No space left on device"))
    assert "    latest error: No space left on device" in text(mended)


def test_the_report_survives_its_way_through_json() -> None:
    adapter = TypeAdapter(BridgeReport)
    assert adapter.validate_json(adapter.dump_json(REPORT)) == REPORT
    assert adapter.validate_python(asdict(REPORT)) == REPORT
