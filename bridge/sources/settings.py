"""What the tables of all sources have in common."""

from collections.abc import Mapping

from pydantic import Field

from bridge.codec.settings import EventSettings, JsonDecoding, LaneRule
from bridge.ports import Site, Source
from bridge.settings import Settings


class SourceSettings(Settings):
    """A table ``[sources.NAME]``; the name is the identity of the source."""

    kind: str
    """What the readings come from."""
    decoder: JsonDecoding = JsonDecoding()
    """How a frame is decoded."""
    event: EventSettings
    """How a reading becomes a CloudEvent."""
    lane: str = Field(default="default", min_length=1)
    """The lane of the spool that its readings go to: "default", or one with a table [lanes.NAME]."""
    lane_rules: list[LaneRule] = Field(default=[])
    """Rules that send some readings to other lanes, alarms for example."""

    def build(self, name: str, site: Site) -> Source:
        """The source that this table describes; does no I/O."""
        raise NotImplementedError

    @property
    def peer(self) -> str:
        """The peer for people: the port's path or the broker's URL, never a secret."""
        raise NotImplementedError

    def sample_captures(self) -> Mapping[str, str]:
        """An example of what frames of this source give to templates, for the check of the templates."""
        raise NotImplementedError
