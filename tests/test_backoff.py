"""Delays between tries."""

from itertools import islice

from bridge.backoff import delays


def test_ceilings_double_up_to_the_cap() -> None:
    highest = list(islice(delays(1, 10, draw=lambda _, high: high), 6))
    assert highest == [1, 2, 4, 8, 10, 10]


def test_no_delay_is_so_short_that_a_refused_connection_becomes_a_busy_loop() -> None:
    assert min(islice(delays(0.5, 30), 2000)) >= 0.05


def test_gateways_that_lost_the_same_broker_do_not_come_back_together() -> None:
    assert len({next(delays()) for _ in range(100)}) > 90
