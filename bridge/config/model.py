"""What a configuration says once it is read: frozen, checked, and the only thing the rest of the program sees."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from bridge.event import source_violations
from bridge.settings import Duration, Settings
from bridge.sinks.settings import SinkSettings
from bridge.sources.settings import SourceSettings
from bridge.spool.settings import DeadLetterSettings, LaneSettings, SpoolSettings

LogLevel = Literal["debug", "info", "warning", "error"]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
"""A legal name of a source or a sink; it identifies the data on the disk, so it must be fit for a file name."""

NO_ID = frozenset(
    {"", "localhost", "localhost.localdomain", "raspberrypi", "debian", "ubuntu", "armbian", "beaglebone"}
)
"""Host names that fresh images share: two gateways would have the same id."""

_NOT_FOR_IDS = re.compile(r"[^A-Za-z0-9._-]+")


def host_id() -> str:
    """The host name, made fit to be a gateway's id."""
    return _NOT_FOR_IDS.sub("-", socket.gethostname()).strip("-._")[:63] or "localhost"


class GatewaySettings(Settings):
    """Who this gateway is."""

    id: str = Field(
        default_factory=host_id, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", examples=["plant7-gw03"]
    )
    """The gateway's id, different for every gateway: letters, digits, ".", "_" and "-". Default: the host name."""
    source: str = Field(
        default_factory=lambda known: f"urn:edge-bridge:{known.get('id', 'unknown')}",
        examples=["https://example.com/plants/7/gateways/plant7-gw03"],
    )
    """What the ``source`` of every event starts with: an absolute URI (recommended) or a URI-reference; the name
    of the source follows after a "/". Default: "urn:edge-bridge:" and the id."""

    @field_validator("source")
    @classmethod
    def _joinable(cls, source: str) -> str:
        for _ in source_violations(source):
            raise ValueError(
                "must be a URI or URI-reference without spaces or other characters that RFC 3986 forbids, "
                'for example "https://example.com/plants/7/gateways/gw03"'
            )
        if "?" in source or "#" in source:
            raise ValueError('must have no "?" and no "#", since the name of the source is appended as a path')
        return source.rstrip("/") or source


class BridgeSettings(Settings):
    """The program itself."""

    state_dir: Path | None = Field(default=None, examples=["/var/lib/edge-bridge"])
    """Directory of the spool, on a disk that survives a restart. Default: $STATE_DIRECTORY, else
    /var/lib/edge-bridge, or the state directory of an ordinary user."""
    runtime_dir: Path | None = Field(default=None, examples=["/run/edge-bridge"])
    """Directory of the control socket. Default: $RUNTIME_DIRECTORY, else /run/edge-bridge, or the runtime
    directory of an ordinary user."""
    drain_timeout: Duration = Field(default=10.0, ge=0, le=3600)
    """How long the sinks may go on delivering after a stop was asked for; what is left stays on the disk. Keep
    it below TimeoutStopSec of the unit."""
    log_level: LogLevel = "info"
    """The least severe lines that are logged."""

    @field_validator("state_dir", "runtime_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError('must be an absolute path, one that starts with "/"')
        return path


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration.

    Attributes:
        lanes: settings of each lane by its name; "default" is always among them.
        state_dir: where the spool lies, defaults applied.
        runtime_dir: where the control socket lies, defaults applied.
        sources: settings of each source by its name, in the order of the file.
        sinks: settings of each sink by its name, in the order of the file.
        files: the files that were read.
    """

    gateway: GatewaySettings
    bridge: BridgeSettings
    spool: SpoolSettings
    lanes: Mapping[str, LaneSettings]
    dead_letters: DeadLetterSettings
    state_dir: Path
    runtime_dir: Path
    sources: Mapping[str, SourceSettings]
    sinks: Mapping[str, SinkSettings]
    files: tuple[Path, ...] = ()

    def takers(self, lane: str) -> list[str]:
        """The sinks that get the events of a lane; of one that is not configured any more, all that want it."""
        return [name for name, sink in self.sinks.items() if lane not in self.lanes or sink.takes(lane)]

    @property
    def spool_dir(self) -> Path:
        """The directory of the spool."""
        return self.state_dir / "spool"

    @property
    def control_socket(self) -> Path:
        """The socket at which a running bridge answers."""
        return self.runtime_dir / "control.sock"
