"""Keeps a log readable: a line that would repeat is written once per interval, with how many were held back."""

import time
from collections.abc import Callable


class Hush:
    """Decides which repetitions of a line may be written.

    Keys are bounded: at most ``max_keys`` are remembered, the oldest is forgotten first.
    """

    def __init__(
        self, interval: float = 60.0, *, max_keys: int = 256, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._max_keys = max_keys
        self._monotonic = monotonic
        self._seen: dict[str, tuple[float, int]] = {}

    def __call__(self, key: str, count: int = 1) -> int:
        """How many occurrences the line to be written now stands for; 0 means: write nothing.

        The first occurrence of a key is always written, later ones at most once per interval.
        """
        now = self._monotonic()
        last, held = self._seen.get(key, (None, 0))
        if last is not None and now - last < self._interval:
            self._seen[key] = (last, held + count)
            return 0
        self._seen.pop(key, None)
        while len(self._seen) >= self._max_keys:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = (now, 0)
        return held + count
