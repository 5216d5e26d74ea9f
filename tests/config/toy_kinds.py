"""Kinds with every sort of option, for the tests of the configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bridge.settings import ByteSize, Duration, Settings
from bridge.sinks.settings import SinkSettings
from bridge.sources.settings import SourceSettings


class Line(Settings):
    """Cut at a delimiter."""

    kind: Literal["line"] = "line"
    max_length: int = Field(default=80, ge=1)
    """The longest line."""


class Block(Settings):
    """Cut into blocks."""

    kind: Literal["block"] = "block"
    size: int
    """Bytes of a block."""


class ToySource(SourceSettings):
    """A toy that says things."""

    kind: Literal["toy"] = "toy"
    port: str = Field(min_length=1)
    """Where the toy is. Further words."""
    baudrate: int = 9600
    """How fast it speaks."""
    loud: bool = False
    """Whether it shouts."""
    volume: float = Field(default=1.5, gt=0, le=11)
    """How loud."""
    mood: Literal["merry", "grim"] = "merry"
    """How it feels."""
    wait: Duration = Field(default=30, ge=0)
    """How long it rests."""
    room: ByteSize = Field(default=65536, ge=1024)
    """How much it may hold."""
    framing: Annotated[Line | Block, Field(discriminator="kind")] = Line()
    """How it is cut."""
    words: list[str] = Field(default_factory=list, max_length=3)
    """What it says."""
    topics: str | list[str] | None = None
    """Where it says it."""
    token_file: Path | None = None
    """File with the token."""

    @property
    def peer(self) -> str:
        return self.port

    def sample_captures(self) -> Mapping[str, str]:
        return {"port": self.port}

    @model_validator(mode="after")
    def _grim_toys_are_quiet(self) -> "ToySource":
        if self.mood == "grim" and self.loud:
            raise ValueError("a grim toy cannot be loud")
        return self


class Lock(Settings):
    """A lock."""

    key: Path
    """File of the key."""


class ToySink(SinkSettings):
    """A toy that listens."""

    kind: Literal["ear"] = "ear"
    url: str
    """Where the ear is."""
    password_file: Path | None = None
    """File with the password."""
    header_files: dict[str, Path] = Field(default_factory=dict)
    """Files with secret headers."""
    lock: Lock | None = None
    """How it is locked."""

    @field_validator("url")
    @classmethod
    def _is_polite(cls, url: str) -> str:
        if url == "hunter2":
            raise ValueError(f"{url!r} is no address")
        return url


NO_CLASS = 5
