"""The error tree, arranged by what the caller has to do about it.

Exceptions of libraries are translated at the door of the module that imports the library; an exception
that is not in this tree is a bug, and is allowed to end the process so that systemd starts a clean one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

EXIT_BUG = 70
"""sysexits(3) EX_SOFTWARE: an error that nobody foresaw."""


class BridgeError(Exception):
    """Anything edge-bridge itself has to say; ``str()`` of it is a sentence for people, without secrets."""

    exit_code: ClassVar[int] = EXIT_BUG


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration.

    Attributes:
        path: where it is, as a dotted path in the file, such as ``sinks.cloud.tls.ca``.
        message: what was expected and what to do; never the value of a secret.
    """

    path: str
    message: str

    def __str__(self) -> str:
        """``path: message``."""
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(BridgeError):
    """The configuration cannot be used. Carries every mistake at once; systemd must not restart for it."""

    exit_code = 78

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CommandFailed(BridgeError):
    """What somebody asked for on the command line cannot be done; the message says why and what to do."""

    exit_code = 1


class DecodeError(BridgeError):
    """A frame says nothing we can use: it becomes a dead letter with this reason, and the stream goes on."""


class PeerError(BridgeError):
    """A peer did not do what was asked; nothing is lost, the work stays ours.

    A sink raises it out of ``send`` with what was settled before: ``confirmed`` holds the indices of the
    batch that the peer had confirmed, ``rejected`` those it refused for good, with the reason. Every index
    in neither is to be sent again, byte for byte.
    """

    def __init__(
        self,
        why: str,
        *,
        retry_after: float | None = None,
        confirmed: Collection[int] = (),
        rejected: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after
        self.confirmed = frozenset(confirmed)
        self.rejected = dict(rejected or {})


class Unavailable(PeerError):
    """The peer is away or busy: try again with backoff, not sooner than ``retry_after`` seconds."""


class Paused(PeerError):
    """Somebody has to mend something (credentials, certificate, missing exchange): keep all, retry slowly."""


class Rejected(PeerError):
    """The peer took the batch but for the indices in ``rejected``: those are dead letters, the rest is done."""

    def __init__(self, rejected: Mapping[int, str]) -> None:
        super().__init__(f"{len(rejected)} rejected", rejected=rejected)


class LaneFull(BridgeError):
    """A lane has no room and refuses what is new (``on_full = "reject-newest"``); nothing of it was stored.

    Attributes:
        lane: the name of the lane.
        why: which limit it is.
    """

    def __init__(self, lane: str, why: str) -> None:
        super().__init__(f"lane {lane} is full ({why}), on_full = reject-newest")
        self.lane = lane
        self.why = why


class SpoolUnusable(BridgeError):
    """The spool's directory cannot serve at all (no permission, a file in its place)."""

    exit_code = 73


class SpoolLocked(SpoolUnusable):
    """Another process owns the spool; the message names its pid."""

    exit_code = 75


class SpoolTooNew(SpoolUnusable):
    """A file was written by a newer edge-bridge: nothing was touched, the message names the file."""
