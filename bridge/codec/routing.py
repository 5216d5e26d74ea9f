"""Which lane of the spool a reading goes to."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from bridge.codec.settings import LaneRule
from bridge.codec.template import found
from bridge.ports import Frame, Reading

_NO_FIELDS: Mapping[str, object] = MappingProxyType({})


class Route:
    """The way of one source's readings: the lane of the first rule that fits, or else ``lane``. Pure.

    Attributes:
        lanes: every lane that a reading may go to, each once.
    """

    def __init__(self, lane: str, rules: Sequence[LaneRule] = ()) -> None:
        self._lane = lane
        self._rules = tuple(rules)
        self.lanes = tuple(dict.fromkeys((lane, *(rule.lane for rule in rules))))

    def lane_of(self, frame: Frame, reading: Reading) -> str:
        """The lane for one reading; never raises for what it says."""
        lookups = (frame.captures, reading.fields or _NO_FIELDS)
        for rule in self._rules:
            if _fits(rule, found(rule.field, lookups)):
                return rule.lane
        return self._lane


def _fits(rule: LaneRule, value: object) -> bool:
    """Whether every condition of a rule holds; what is no number is neither above nor below anything."""
    if rule.equals is not None:
        wanted = rule.equals if isinstance(rule.equals, list) else [rule.equals]
        # In JSON true is no 1.
        if not any(isinstance(value, bool) == isinstance(one, bool) and value == one for one in wanted):
            return False
    if rule.above is None and rule.below is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (rule.above is None or value > rule.above) and (rule.below is None or value < rule.below)
