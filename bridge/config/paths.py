"""Where files lie: the service's places for root and systemd, the user's own places for an ordinary user.

Nothing here creates anything, and nothing heavy is imported before it is needed.
"""

import os
from collections.abc import Mapping
from pathlib import Path

APPLICATION = "edge-bridge"
SYSTEM_CONFIG = Path("/etc/edge-bridge/config.toml")
SYSTEM_STATE = Path("/var/lib/edge-bridge")
SYSTEM_RUNTIME = Path("/run/edge-bridge")
SYSTEM_CREDENTIALS = Path("/run/credentials/edge-bridge.service")
"""Where systemd puts the credentials of the running service (systemd.exec(5), ``LoadCredential=``)."""


def default_config() -> Path:
    """The configuration to read when none is named.

    Root: ``/etc/edge-bridge/config.toml``. An ordinary user: the own one if it exists, else the service's if
    that exists or may not be looked for, else the (missing) own one.
    """
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    own = _user_config()
    return (
        SYSTEM_CONFIG if _is_there(SYSTEM_CONFIG, if_closed=True) and not _is_there(own, if_closed=False) else own
    )


def state_dir(config: Path, environ: Mapping[str, str]) -> Path:
    """Where the spool lies when the configuration at ``config`` does not say.

    ``$STATE_DIRECTORY`` (set by systemd) first; the service's directory for root and for the service's
    configuration, whoever reads it; the user's state directory otherwise.
    """
    given = _first(environ.get("STATE_DIRECTORY"))
    if given is not None:
        return given
    if _of_the_service(config):
        return SYSTEM_STATE
    from platformdirs import user_state_path  # noqa: PLC0415 - only ordinary users need it

    return user_state_path(APPLICATION, appauthor=False)


def runtime_dir(config: Path, environ: Mapping[str, str]) -> Path:
    """Where the control socket lies when the configuration at ``config`` does not say; as ``state_dir``.

    A user without ``$XDG_RUNTIME_DIR`` has it in the state directory.
    """
    given = _first(environ.get("RUNTIME_DIRECTORY"))
    if given is not None:
        return given
    if _of_the_service(config):
        return SYSTEM_RUNTIME
    own = environ.get("XDG_RUNTIME_DIR")
    # Without a login session there is only /tmp, where anybody could put a socket in our place.
    return Path(own) / APPLICATION if own else state_dir(config, environ)


def _user_config() -> Path:
    from platformdirs import user_config_path  # noqa: PLC0415 - only ordinary users need it

    return user_config_path(APPLICATION, appauthor=False) / SYSTEM_CONFIG.name


def _is_there(path: Path, *, if_closed: bool) -> bool:
    """Whether the file exists; ``if_closed`` when its folder may not be looked into."""
    try:
        return path.exists()
    except OSError:
        return if_closed


def _of_the_service(config: Path) -> bool:
    return os.geteuid() == 0 or config.is_relative_to(SYSTEM_CONFIG.parent)


def _first(directories: str | None) -> Path | None:
    # systemd joins several directories of one unit with colons.
    first = (directories or "").split(":")[0]
    return Path(first) if first else None
