"""What arrived at the far side, by event and by reading."""

import json
from collections.abc import Collection


class Tally:
    """Counts structured events whose data holds a reading's number as ``n``.

    Attributes:
        events: how often each event (source, id) came.
        changed: events that came again with other bytes.
        readings: the events under which each reading came.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], int] = {}
        self.changed: list[tuple[str, str]] = []
        self.readings: dict[int, set[tuple[str, str]]] = {}
        self._bodies: dict[tuple[str, str], bytes] = {}

    def add(self, body: bytes) -> None:
        """One event as it arrived."""
        event = json.loads(body)
        key = (event["source"], event["id"])
        self.events[key] = self.events.get(key, 0) + 1
        if self._bodies.setdefault(key, body) != body:
            self.changed.append(key)
        self.readings.setdefault(event["data"]["n"], set()).add(key)

    @property
    def duplicates(self) -> int:
        """How many arrivals a receiver has to drop."""
        return sum(self.events.values()) - len(self.events)

    def missing(self, expected: Collection[int]) -> list[int]:
        """Which of the expected readings never came."""
        return sorted(set(expected) - self.readings.keys())

    def doubled(self) -> list[int]:
        """Readings that came under more than one id."""
        return sorted(number for number, keys in self.readings.items() if len(keys) > 1)

    def assert_kept(self, expected: Collection[int]) -> None:
        """Nothing is missing; whatever came twice came under the same id with the same bytes."""
        missing, doubled = self.missing(expected), self.doubled()
        assert not missing, f"{len(missing):,} of {len(expected):,} are missing, such as {missing[:5]}"
        assert not doubled, f"{len(doubled):,} readings came under two ids, such as {doubled[:5]}"
        assert not self.changed, f"{len(self.changed):,} events changed between two deliveries: {self.changed[:5]}"
