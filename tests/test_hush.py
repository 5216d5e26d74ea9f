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


def test_memory_is_bounded_whatever_the_keys() -> None:
    hush = Hush(max_keys=10)
    for number in range(1000):
        assert hush(str(number)) == 1
    assert len(hush._seen) == 10
