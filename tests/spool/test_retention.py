from typing import Any

import pytest

from bridge.spool import retention
from bridge.spool.book import Book
from bridge.spool.files import Space
from bridge.spool.layout import Segment
from bridge.spool.limits import Limits
from bridge.spool.retention import Retention
from bridge.spool.shelf import Shelf
from tests.kit.faulty_files import FaultyFiles

SIZE = 100


class Case:
    """Five segments of ten records and SIZE bytes each."""

    def __init__(self, max_bytes: int = 10_000, **limits: Any) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - never used, only typed
        from pathlib import Path  # noqa: PLC0415 - likewise

        self.shelf = Shelf(FaultyFiles(), Path("/log"), ThreadPoolExecutor(1))
        self.shelf.segments = [Segment(number + 1, 10 * number, 1, SIZE) for number in range(5)]
        self.shelf.durable = 50
        self.book = Book(0)
        self.retention = Retention(
            "log",
            shelf=self.shelf,
            book=self.book,
            limits=Limits(max_bytes, SIZE, 0, 0, **{"recent_records": 0, "min_free_disk": 0, **limits}),
        )

    @property
    def firsts(self) -> list[int]:
        return [segment.first for segment in self.shelf.segments]


def test_below_the_limit_nothing_is_dropped() -> None:
    case = Case(7 * SIZE)
    case.retention.make_room(0, None, force=True)
    assert case.firsts == [0, 10, 20, 30, 40]


def test_room_is_made_for_the_next_and_the_prepared_segment(caplog: pytest.LogCaptureFixture) -> None:
    case = Case(5 * SIZE)
    case.book.ledger("cloud").settle(0, 5)
    case.retention.make_room(0, None, force=True)
    assert case.firsts == [20, 30, 40]
    assert [segment.first for segment in case.retention.doomed] == [0, 10]
    assert case.retention.losses == {"max_bytes": 15}
    assert case.book.ledger("cloud").skipped == 15
    assert "dropped: max_bytes is reached" in caplog.text


def test_room_is_made_for_a_segment_that_one_large_append_needs() -> None:
    case = Case(8 * SIZE)
    case.retention.make_room(4 * SIZE, None, force=True)
    assert case.firsts == [20, 30, 40]


def test_the_newest_segment_is_never_dropped() -> None:
    case = Case(1)
    case.retention.make_room(0, None, force=True)
    assert case.firsts == [40]
    assert not case.retention.drop_oldest("test")


def test_only_what_is_durably_passed_is_retired() -> None:
    case = Case()
    ledger = case.book.ledger("cloud")
    ledger.settle(0, 25)
    assert case.retention.frees_with_next_state
    case.retention.retire()
    assert case.firsts == [0, 10, 20, 30, 40]
    case.retention.advance_start()
    _, token = case.book.changes({})
    case.book.written(case.book.start, token)
    case.retention.retire()
    assert case.firsts == [20, 30, 40]


def test_nothing_is_retired_beyond_the_start_that_was_written() -> None:
    case = Case()
    ledger = case.book.ledger("cloud")
    ledger.settle(0, 15)
    case.retention.advance_start()
    ledger.settle(15, 35)
    _, token = case.book.changes({})
    case.book.written(case.book.start, token)
    case.retention.retire()
    assert case.firsts == [10, 20, 30, 40]


def test_what_is_recent_stays_though_everybody_has_it() -> None:
    case = Case(recent_records=25)
    case.book.ledger("cloud").settle(0, 50)
    assert case.retention.frees_with_next_state
    case.retention.advance_start()
    assert case.book.start == 20
    _, token = case.book.changes({})
    case.book.written(case.book.start, token)
    case.retention.retire()
    assert case.firsts == [20, 30, 40]
    assert not case.retention.frees_with_next_state


def test_what_is_recent_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RECENT_BYTES", 2 * SIZE)
    case = Case(recent_records=1000)
    case.book.ledger("cloud").settle(0, 50)
    case.retention.advance_start()
    assert case.book.start == 30


def test_what_is_recent_gives_way_to_the_limit_and_is_no_loss() -> None:
    case = Case(5 * SIZE)
    case.book.ledger("cloud").settle(0, 50)
    case.retention.make_room(0, None, force=True)
    assert case.firsts == [20, 30, 40]
    assert not case.retention.losses


def test_without_a_cursor_everything_is_kept() -> None:
    case = Case()
    case.retention.advance_start()
    case.retention.retire()
    assert case.firsts == [0, 10, 20, 30, 40]
    assert case.book.start == 0


def test_the_start_follows_the_slowest_cursor() -> None:
    case = Case()
    case.book.ledger("cloud").settle(0, 45)
    case.book.ledger("local").settle(0, 29)
    case.retention.advance_start()
    assert case.book.start == 20


def test_a_predecessor_without_records_goes() -> None:
    case = Case()
    case.retention.add(Segment(6, 40, 2, SIZE))
    assert [segment.generation for segment in case.shelf.segments] == [1, 2, 3, 4, 6]
    assert [segment.generation for segment in case.retention.doomed] == [5]


def test_what_is_wanted_stays_when_nothing_may_be_dropped() -> None:
    case = Case(5 * SIZE)
    case.book.ledger("cloud").settle(0, 15)
    assert case.retention.make_room(0, None, force=False) == "max_bytes"
    assert case.firsts == [10, 20, 30, 40]
    assert not case.retention.losses
    case.book.ledger("cloud").settle(0, 20)
    assert case.retention.make_room(0, None, force=False) is None
    assert case.firsts == [20, 30, 40]


def test_what_only_a_removed_sink_wants_gives_way_and_is_counted_as_that() -> None:
    case = Case(5 * SIZE)
    case.book.owners = frozenset({"cloud"})
    case.book.ledger("old")
    case.book.ledger("cloud").settle(0, 50)
    assert case.retention.make_room(0, None, force=False) is None
    assert case.firsts == [20, 30, 40]
    assert case.retention.losses == {"wanted only by a removed sink": 20}


def test_a_backlog_leaves_the_free_space_that_others_need() -> None:
    case = Case(min_free_disk=10 * SIZE)
    space = Space(free=10 * SIZE, size=100 * SIZE)
    assert case.retention.make_room(0, space, force=False) == "min_free_disk"
    assert case.retention.make_room(0, space, force=True) is None
    assert case.firsts == [10, 20, 30, 40]
    assert case.retention.losses == {"min_free_disk": 10}


def test_what_a_log_needs_to_deliver_is_taken_from_any_free_space() -> None:
    case = Case(min_free_disk=10 * SIZE)
    case.retention.make_room(0, Space(0, 100 * SIZE), force=True)
    assert case.firsts == [40]
    assert case.retention.make_room(0, Space(0, 100 * SIZE), force=False) is None


def test_what_was_purged_goes_without_a_cursor_too() -> None:
    case = Case()
    case.book.drop(30)
    _, token = case.book.changes({})
    case.book.written(30, token)
    case.retention.retire()
    assert case.firsts == [30, 40]
