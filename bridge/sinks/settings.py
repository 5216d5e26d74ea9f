"""What the tables of all sinks have in common."""

from typing import Literal

from pydantic import Field

from bridge.ports import Sink, Site
from bridge.settings import Settings


class SinkSettings(Settings):
    """A table ``[sinks.NAME]``; the name is the identity of what the sink has confirmed."""

    kind: str
    """What the events go to."""
    lanes: list[str] | None = Field(default=None, min_length=1, examples=[["alarms", "default"]])
    """The lanes of the spool whose events it gets. Default: all of them."""
    order: Literal["fifo", "live-first"] = "fifo"
    """Which events go first after an outage: "fifo" delivers strictly in order; "live-first" gives fresh events a
    share of the link while the backlog drains, so that they do not wait behind it."""
    live_share: float = Field(default=0.5, ge=0.05, le=0.95)
    """With order = "live-first": the part of the bytes that fresh events may take while both wait."""

    def takes(self, lane: str) -> bool:
        """Whether it gets the events of a lane."""
        return self.lanes is None or lane in self.lanes

    def build(self, name: str, site: Site) -> Sink:
        """The sink that this table describes; does no I/O."""
        raise NotImplementedError
