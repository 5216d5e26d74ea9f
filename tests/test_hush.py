"""Log lines that repeat are written once per interval, with their number, in bounded memory."""

from bridge.hush import Hush


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_written_and_repetitions_are_counted_until_the_interval_is_over() -> None:
    time = Time()
    hush = Hush(60, monotonic=time)
    assert [hush("a"), hush("a", 5), hush("b")] == [1, 0, 1]
    time.now = 60.0
    assert hush("a", 2) == 7
    assert hush("a") == 0


def test_neither_memory_nor_log_grows_with_the_number_of_keys() -> None:
    time = Time()
    hush = Hush(60, max_keys=10, monotonic=time)
    told = [hush(str(number)) for number in range(1000)]
    assert told == [1] * 11 + [0] * 989
    assert len(hush._seen) == 11
    time.now = 60.0
    assert hush("another") == 1


def test_a_key_that_is_over_makes_room_for_another() -> None:
    time = Time()
    hush = Hush(60, max_keys=2, monotonic=time)
    assert [hush("a"), hush("b"), hush("c"), hush("d")] == [1, 1, 1, 0]
    time.now = 60.0
    # "d" has a place now; "e" has none, and brings along what was held back of the others.
    assert [hush("d"), hush("e")] == [1, 2]
    assert "a" not in hush._seen
