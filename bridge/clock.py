"""Time: what the wall says, what the boot clock says, and whether the wall can be believed.

A gateway without a real-time clock starts in the past. So nothing here ever compares wall clocks of
different moments; timers are monotonic, and each reading stores both clocks and the boot they belong to.
"""

import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

STA_UNSYNC = 0x0040
"""adjtimex(2): the kernel's own word that nobody disciplines its clock."""

TIMESYNCD_MARK = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd(8): exists from the first synchronisation of this boot on."""

_BELIEF_NS = 1_000_000_000
"""How long one answer about synchronisation is reused; asking costs a system call."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks.

    Attributes:
        wall_ns: nanoseconds since 1970 as the wall clock had it.
        boot_ns: nanoseconds since the machine started (CLOCK_BOOTTIME, counts suspend).
        synchronised: whether the wall clock was disciplined at that instant.
    """

    wall_ns: int
    boot_ns: int
    synchronised: bool


class Clock(Protocol):
    """All the time that the program sees; tests bring their own."""

    @property
    def boot_id(self) -> bytes:
        """Eight bytes that differ for every start of the machine."""
        ...

    def now(self) -> Moment:
        """This instant."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow, for timers."""
        ...


def trusted_age(moment: Moment, boot_id: bytes, clock: Clock) -> float | None:
    """Seconds since a moment of the boot ``boot_id``, or None when no clock can be trusted to tell.

    Within one boot the boot clock tells, whatever the wall clock does; over boots the wall clock, if it was
    synchronised then and is now.
    """
    now = clock.now()
    if boot_id == clock.boot_id:
        return max(0.0, (now.boot_ns - moment.boot_ns) / 1e9)
    if moment.synchronised and now.synchronised:
        return max(0.0, (now.wall_ns - moment.wall_ns) / 1e9)
    return None


class SystemClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        self._boot_id: bytes | None = None
        self._believed_until = -1
        self._synchronised = False

    @property
    def boot_id(self) -> bytes:
        """The first eight bytes of the kernel's random boot id; random if the kernel does not tell."""
        if self._boot_id is None:
            try:
                text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
                self._boot_id = bytes.fromhex(text.strip().replace("-", ""))[:8]
            except (OSError, ValueError):
                self._boot_id = os.urandom(8)
        return self._boot_id

    def now(self) -> Moment:
        """This instant, on both clocks."""
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if boot_ns > self._believed_until:
            self._synchronised = is_synchronised()
            self._believed_until = boot_ns + _BELIEF_NS
        return Moment(time.time_ns(), boot_ns, self._synchronised)

    def monotonic(self) -> float:
        """``time.monotonic()``."""
        return time.monotonic()


class _Timex(ctypes.Structure):
    # adjtimex(2), struct timex: only `modes` (in) and `status` (out) are used; the rest is room for the kernel.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def is_synchronised() -> bool:
    """Whether something (NTP, PTP, GPS) disciplines the wall clock, as far as the kernel or timesyncd know."""
    timex = _Timex()
    if _libc.adjtimex(ctypes.byref(timex)) >= 0 and not timex.status & STA_UNSYNC:
        return True
    # A sandboxed service may not ask the kernel; timesyncd leaves a mark for everyone.
    return TIMESYNCD_MARK.exists()
