"""Why a serial port could not be opened, in words for whoever stands in front of it."""

import errno
import grp
import os
import pwd
import termios
from pathlib import Path

from bridge.errors import Paused, PeerError, Unavailable

BY_ID = Path("/dev/serial/by-id")
"""Where udev names the ports of plugged-in adapters by what they are."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_HELD = frozenset({errno.EBUSY, errno.EAGAIN})
_NO_PORT = frozenset({errno.ENOTTY, errno.EISDIR, errno.EOPNOTSUPP})


def trouble(port: str, error: Exception) -> PeerError:
    """The error of ours for what happened when ``port`` was opened; blocks, since it looks around on the disk.

    Returns:
        ``Paused`` when somebody has to mend something, else ``Unavailable``.
    """
    number = _number(error)
    if number in _NOT_THERE:
        return Unavailable(f"there is no {port}: is the device plugged in? {_plugged_in()}")
    if number in _FORBIDDEN:
        return Paused(f"{port} may not be opened: {_how_to_permit(port)}")
    if number in _HELD:
        return Unavailable(
            f"{port} is held by another program (fuser -v {port} shows which): a terminal program, a second "
            "bridge, or ModemManager, which a udev rule with ID_MM_DEVICE_IGNORE keeps away"
        )
    if number in _NO_PORT:
        return Paused(f"{port} is no serial port")
    if isinstance(error, ValueError) or number == errno.EINVAL:
        return Paused(f"{port} cannot be set to the configured rate and format: {_said(error)}")
    return Unavailable(f"cannot open {port}: {_said(error)}")


def _number(error: BaseException) -> int | None:
    """The system's error number; pyserial keeps it in the exception or in the one that it came from."""
    if isinstance(error, termios.error):
        return error.args[0] if error.args and isinstance(error.args[0], int) else None
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    return None if error.__context__ is None else _number(error.__context__)


def _said(error: BaseException) -> str:
    """The system's words; pyserial's own repeat the port and the number."""
    if isinstance(error, termios.error) and len(error.args) > 1:
        return str(error.args[1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if error.__context__ is None else _said(error.__context__)


def _plugged_in() -> str:
    try:
        names = sorted(path.name for path in BY_ID.iterdir())
    except OSError:
        names = []
    if not names:
        return f"No USB serial adapter is ({BY_ID} is empty)"
    shown = ", ".join(str(BY_ID / name) for name in names[:5])
    return f"Plugged in: {shown}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _how_to_permit(port: str) -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    try:
        group = grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    if group == "root":
        group = "dialout"  # nobody should be asked to join root: a udev rule is missing
    return (
        f"user {user!r} is not allowed to; put it into the port's group (usermod -aG {group} {user}; for the "
        f"service: SupplementaryGroups={group}) and restart"
    )
