"""What is delivered again is recognised; what is new is never taken for old where that can be known."""

from bridge.ports import Receipt
from bridge.sources.mqtt_deliveries import REMEMBERED, Deliveries


def test_a_delivery_that_was_never_acknowledged_is_recognised() -> None:
    deliveries = Deliveries()
    deliveries.stored(Receipt(7, 1), again=False)
    assert deliveries.holds(Receipt(7, 1))
    assert not deliveries.holds(Receipt(7, 2))
    assert not deliveries.holds(Receipt(8, 1))


def test_a_delivery_whose_acknowledgement_may_be_lost_is_recognised() -> None:
    deliveries = Deliveries()
    deliveries.stored(Receipt(7, 1), again=False)
    deliveries.acknowledged([7])
    assert deliveries.holds(Receipt(7, 1))


def test_what_the_spool_knows_is_recognised_after_a_restart() -> None:
    assert Deliveries([Receipt(1, 1), Receipt(2, 5)]).holds(Receipt(2, 5))


def test_a_broker_that_reuses_identifiers_soon_is_believed_only_for_what_we_never_acknowledged() -> None:
    deliveries = Deliveries()
    for _ in range(2):
        deliveries.stored(Receipt(1, 9), again=False)
        deliveries.acknowledged([1])
    assert not deliveries.holds(Receipt(1, 9))
    deliveries.stored(Receipt(1, 9), again=False)
    assert deliveries.holds(Receipt(1, 9))
    assert not Deliveries([Receipt(1, 9), Receipt(1, 9)]).holds(Receipt(1, 9))


def test_a_second_delivery_of_the_same_message_is_no_sign_of_such_a_broker() -> None:
    deliveries = Deliveries()
    deliveries.stored(Receipt(1, 9), again=False)
    deliveries.stored(Receipt(1, 9), again=True)
    deliveries.acknowledged([1])
    assert deliveries.holds(Receipt(1, 9))


def test_memory_is_bounded_and_the_latest_are_kept() -> None:
    deliveries = Deliveries()
    for packet in range(1, REMEMBERED + 101):
        deliveries.stored(Receipt(packet, packet), again=False)
    assert not deliveries.holds(Receipt(100, 100))
    assert deliveries.holds(Receipt(101, 101))
    assert len(deliveries._digests) == len(deliveries._open) == REMEMBERED
