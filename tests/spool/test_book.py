from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bridge.spool.book import MAX_WRITTEN_RANGES, Book, Ledger, runs
from bridge.spool.envelope import CursorState, unpack_state

STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=30)


@given(STRETCHES)
def test_a_ledger_knows_what_a_set_would_know(stretches: list[tuple[int, int]]) -> None:
    ledger, model = Ledger(0), set[int]()
    for first, length in stretches:
        new = set(range(first, first + length)) - model
        assert ledger.settle(first, first + length) == len(new)
        model |= new
        low = next(offset for offset in range(100) if offset not in model)
        assert ledger.low == low
        assert ledger.waiting(100) == 100 - len(model)
        assert [offset for offset in range(100) if ledger.is_settled(offset)] == sorted(model)
        written = ledger.state()
        assert Ledger(written.low, written.ranges).ranges == ledger.ranges


@given(st.lists(st.integers(0, 30)))
def test_runs_hold_every_offset_once(offsets: list[int]) -> None:
    found = runs(offsets)
    assert [offset for first, stop in found for offset in range(first, stop)] == sorted(set(offsets))
    assert all(stop < first for (_, stop), (first, _) in pairwise(found))


def test_only_a_bounded_number_of_stretches_is_written() -> None:
    ledger = Ledger(0)
    for first in range(1, 5000, 2):
        ledger.settle(first, first + 1)
    assert len(ledger.state().ranges) == MAX_WRITTEN_RANGES


def test_a_cursor_counts_as_written_only_as_far_as_the_record_said() -> None:
    book = Book(0)
    ledger = book.ledger("cloud")
    ledger.settle(0, 5)
    payload, token = book.changes({})
    ledger.settle(5, 9)
    book.written(0, token)
    assert unpack_state(payload).cursors == {"cloud": CursorState(5, ())}
    assert ledger.durable_low == 5
    assert book.dirty
    book.written(0, book.changes({})[1])
    assert not book.dirty


def test_the_slowest_cursor_decides_what_is_passed() -> None:
    book = Book(0)
    assert book.passed(durably=False) is None
    book.ledger("a").settle(0, 9)
    book.ledger("b").settle(0, 4)
    assert book.passed(durably=False) == 4
    assert book.passed(durably=True) == 0


def test_a_drop_counts_what_each_cursor_loses() -> None:
    book = Book(0)
    book.ledger("a").settle(0, 9)
    book.ledger("b").settle(2, 4)
    assert book.drop(10) == (8, 0)
    assert (book.ledger("a").skipped, book.ledger("b").skipped) == (1, 8)
    assert book.start == 10


def test_without_cursors_a_drop_counts_every_record() -> None:
    assert Book(3).drop(10) == (7, 0)
