"""What is said of the spool at a start."""

from dataclasses import replace

from bridge.report import LaneReport, SpoolReport, WearReport
from bridge.run.greeting import durability, leftovers

LANE = LaneReport("default", 0, True, "block", 0, 9, 9, 1, 2, None, 0.25, None, {}, 0, {})
REPORT = SpoolReport(
    "/x",
    1,
    9,
    0,
    0,
    0,
    True,
    0.0,
    None,
    (LANE,),
    replace(LANE, name="dead-letters"),
    WearReport(0, 0, 0, 0, 0, 0, 0),
)


def test_the_loss_window_of_each_lane_is_told() -> None:
    urgent = replace(LANE, name="alarms", commit_interval=0)
    said = list(durability(replace(REPORT, lanes=(urgent, LANE))))
    assert len(said) == 2
    assert "alarms: a power cut takes nothing that was acknowledged" in said[0]
    assert "at most the last 0.25 s (commit_interval)" in said[1]
    [together] = durability(replace(REPORT, lanes=(LANE, replace(LANE, name="other"))))
    assert together.startswith("every lane: ")


def test_orphans_are_named_with_what_to_do() -> None:
    report = replace(REPORT, lanes=(replace(LANE, orphans={"old": 1234}),))
    [said] = leftovers(report)
    assert "1,234 events" in said
    assert "queue forget --sink old --lane default" in said


def test_a_removed_lane_is_named_with_what_to_do() -> None:
    [said] = leftovers(replace(REPORT, lanes=(replace(LANE, name="gone", configured=False),)))
    assert "queue forget --lane gone" in said


def test_nothing_is_said_when_all_is_well() -> None:
    assert not list(leftovers(REPORT))
