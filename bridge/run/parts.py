"""What the configuration makes of its sources and sinks, before anything runs."""

from collections.abc import Collection
from dataclasses import dataclass, field

from bridge.codec.minting import Minter
from bridge.codec.routing import Route
from bridge.ports import Decoder, Sink, Source
from bridge.spool.settings import DEFAULT_LANE


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A source and what makes events of its frames."""

    name: str
    kind: str
    peer: str
    source: Source
    decoder: Decoder
    minter: Minter
    route: Route = field(default_factory=lambda: Route(DEFAULT_LANE))


@dataclass(frozen=True, slots=True)
class SinkPart:
    """A sink and its name, which is the identity of what it has confirmed.

    Attributes:
        lanes: the lanes whose events it gets; None for all.
        live_share: the share of fresh events while a backlog drains; 0 delivers in order.
    """

    name: str
    kind: str
    sink: Sink
    lanes: Collection[str] | None = None
    live_share: float = 0.0

    def takes(self, lane: str) -> bool:
        """Whether it gets the events of a lane."""
        return self.lanes is None or lane in self.lanes
