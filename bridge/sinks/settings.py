"""What the tables of all sinks have in common."""

from bridge.ports import Sink, Site
from bridge.settings import Settings


class SinkSettings(Settings):
    """A table ``[sinks.NAME]``; the name is the identity of what the sink has confirmed."""

    kind: str
    """What the events go to."""

    def build(self, name: str, site: Site) -> Sink:
        """The sink that this table describes; does no I/O."""
        raise NotImplementedError
