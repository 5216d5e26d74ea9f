"""Which readings one damaged place may cost, and whether that must be told."""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePath

from tests.crash.rot import Rot

_MARK = re.compile(rb'\{"n":(\d+)[,}]|GARBAGE (\d+) ')
AROUND = 640
"""More bytes than a record has in front of its data or behind it."""


class Ledger:
    """What lay in the damaged file, as far as its bytes tell.

    Args:
        frames: every reading by its number.
        names: of all files, as they are after the damage.
    """

    def __init__(self, rot: Rot, frames: Mapping[int, bytes], names: Collection[str]) -> None:
        self._places: list[tuple[int, int]] = []
        self._hit: dict[int, int] = {}
        for match in _MARK.finditer(rot.before):
            number = int(match[1] or match[2])
            start, stop = match.start() - AROUND, match.start() + len(frames.get(number, b"")) + AROUND
            self._places.append((number, match.start()))
            if start < rot.stop and rot.start < stop:
                self._hit[number] = match.start()
        self.dead_letters = "dead-letters/" in rot.name
        folder = str(PurePath(rot.name).parent)
        siblings = [name for name in names if str(PurePath(name).parent) == folder and name.endswith(".seg")]
        self._goes_on = any(name > rot.name for name in siblings)

    def explains(self, number: int) -> bool:
        """Whether the damage is where this reading lay."""
        return number in self._hit

    def must_be_told(self, lost: Collection[int], left: Collection[int]) -> bool:
        """Whether damage is the only possible cause: something of the log is left behind what is lost.

        The end of a log that is gone looks like its end.

        Args:
            left: what can still be read of the log.
        """
        places = [self._hit[number] for number in lost if number in self._hit]
        if not places:
            return False
        kept = set(left)
        return self._goes_on or any(at > min(places) and number in kept for number, at in self._places)
