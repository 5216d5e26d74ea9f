"""Keeps a log readable: a line that would repeat is written once per interval, with how many were held back."""

import time
from collections.abc import Callable

_OTHERS = ""


class Hush:
    """Decides which repetitions of a line may be written.

    At most ``max_keys`` keys are told apart within an interval; all further ones count as one key, so that
    neither the memory nor the log grows with the number of different keys.
    """

    def __init__(
        self, interval: float = 60.0, *, max_keys: int = 16, monotonic: Callable[[], float] = time.monotonic
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
        if key not in self._seen:
            key = self._admit(key, now)
        last, held = self._seen.get(key, (None, 0))
        if last is not None and now - last < self._interval:
            self._seen[key] = (last, held + count)
            return 0
        self._seen[key] = (now, 0)
        return held + count

    def _admit(self, key: str, now: float) -> str:
        """The key itself while there is room for one more, else the one that stands for all others."""
        if len(self._seen) >= self._max_keys:
            for old, (last, held) in list(self._seen.items()):
                # What was held back under a key waits for its next line.
                if not held and now - last >= self._interval:
                    del self._seen[old]
        return key if len(self._seen) < self._max_keys else _OTHERS
