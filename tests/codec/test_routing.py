"""The lane of a reading: the first rule that fits, else the source's own."""

import pytest

from bridge.clock import Moment
from bridge.codec.routing import Route
from bridge.codec.settings import LaneRule
from bridge.ports import Frame, Reading


def lane(rule: dict[str, object], fields: dict[str, object] | None, **captures: str) -> str:
    route = Route("default", [LaneRule.model_validate({"lane": "alarms", **rule})])
    frame = Frame(b"", Moment(0, 0, True), "t", captures)
    return route.lane_of(frame, Reading(b"", "application/json", fields))


@pytest.mark.parametrize(
    ("rule", "fields", "fits"),
    [
        ({"field": "level", "equals": "alarm"}, {"level": "alarm"}, True),
        ({"field": "level", "equals": "alarm"}, {"level": "info"}, False),
        ({"field": "level", "equals": ["alarm", "critical"]}, {"level": "critical"}, True),
        ({"field": "level", "equals": "alarm"}, {}, False),
        ({"field": "level", "equals": "alarm"}, None, False),
        ({"field": "state.code", "equals": 3}, {"state": {"code": 3}}, True),
        ({"field": "state.code", "equals": 3}, {"state": 3}, False),
        ({"field": "on", "equals": True}, {"on": True}, True),
        ({"field": "on", "equals": True}, {"on": 1}, False),
        ({"field": "on", "equals": 1}, {"on": True}, False),
        ({"field": "on", "equals": 1}, {"on": 1.0}, True),
        ({"field": "on", "equals": False}, {"on": 0}, False),
        ({"field": "c", "above": 90}, {"c": 90.5}, True),
        ({"field": "c", "above": 90}, {"c": 90}, False),
        ({"field": "c", "below": 5}, {"c": 0}, True),
        ({"field": "c", "above": 10, "below": 20}, {"c": 15}, True),
        ({"field": "c", "above": 10, "below": 20}, {"c": 25}, False),
        ({"field": "c", "above": 10}, {"c": "99"}, False),
        ({"field": "c", "above": 0}, {"c": True}, False),
        ({"field": "c", "above": 0}, {"c": None}, False),
    ],
)
def test_a_rule_fits_what_it_says(rule: dict[str, object], fields: dict[str, object] | None, fits: bool) -> None:
    assert lane(rule, fields) == ("alarms" if fits else "default")


def test_a_part_of_the_topic_can_choose_the_lane() -> None:
    assert lane({"field": "line", "equals": "7"}, None, line="7") == "alarms"


def test_the_first_rule_that_fits_counts_and_every_lane_is_known() -> None:
    rules = [
        LaneRule(lane="alarms", field="c", above=90),
        LaneRule(lane="warnings", field="c", above=50),
    ]
    route = Route("telemetry", rules)
    frame = Frame(b"", Moment(0, 0, True), "t")
    lanes = [route.lane_of(frame, Reading(b"", "x", {"c": value})) for value in (95, 60, 10)]
    assert lanes == ["alarms", "warnings", "telemetry"]
    assert route.lanes == ("telemetry", "alarms", "warnings")
