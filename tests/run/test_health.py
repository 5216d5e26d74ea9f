"""The state of a component and the lines about it."""

import logging

import pytest

from bridge.errors import Unavailable
from bridge.run.health import Health, spell


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_line_that_a_peer_is_back_says_after_how_long_and_how_much_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    time = Time()
    health = Health("sink cloud", "https://example.com", consequence="kept", backlog=lambda: 7, monotonic=time)
    health.connected()
    health.failed(Unavailable("refused"))
    time.now += 3700
    assert health.since == 3700
    health.connected()
    assert caplog.messages[-1] == "sink cloud: back after 1 h 1 min; 7 events waiting"
    assert health.since == 0


def test_what_waits_from_before_is_told_when_the_peer_is_first_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Health("sink cloud", "amqp://b", consequence="kept", backlog=lambda: 2995).connected()
    Health("sink other", "amqp://b", consequence="kept", backlog=lambda: 0).connected()
    assert caplog.messages == [
        "sink cloud: connected to amqp://b; 2,995 events from before",
        "sink other: connected to amqp://b",
    ]


def test_an_outage_is_counted_from_its_first_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time = Time()
    health = Health("source boiler", "/dev/ttyUSB0", consequence="others go on", monotonic=time)
    for _ in range(3):
        health.failed(Unavailable("unplugged"))
        time.now += 10
    health.connected("/dev/ttyUSB1")
    assert "back after 30 s" in caplog.messages[-1]
    assert health.peer == "/dev/ttyUSB1"


def test_the_latest_outage_of_a_flapping_peer_is_told_again_after_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    time = Time()
    health = Health("sink cloud", "x", consequence="kept", monotonic=time)
    for _ in range(5):
        health.connected()
        health.failed(Unavailable("reset"))
        time.now += 20
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "3 times" in told[1].message


def test_an_outage_that_stays_is_told_although_the_one_before_was_just_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    time = Time()
    health = Health("sink cloud", "x", consequence="kept", monotonic=time)
    health.connected()
    health.failed(Unavailable("reset"))
    time.now += 1
    health.connected()
    time.now += 1
    for _ in range(20):
        health.failed(Unavailable("refused"))
        time.now += 30
    health.connected()
    lines = [line.partition("; kept")[0] for line in caplog.messages[1:]]
    assert lines == [
        "sink cloud: down: reset",
        "sink cloud: back after 1.0 s",
        "sink cloud: down: refused",
        "sink cloud: back after 10 min 0 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.2 s"), (42, "42 s"), (200, "3 min 20 s"), (18720, "5 h 12 min"), (183600, "2 d 3 h")],
)
def test_durations_are_spelled_for_people(seconds: float, text: str) -> None:
    assert spell(seconds) == text
