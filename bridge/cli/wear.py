"""What the spool costs a flash card, in figures that people can act on."""

from bridge.cli.sizes import size
from bridge.report import WearReport

CARD_BYTES = 16e9
CARD_CYCLES = 500
CARD_AMPLIFICATION = 3
"""A common card: 16 GB of TLC, 500 erasures of each block, three bytes written inside for one from outside."""

_TOLD_FROM = 60.0
"""Seconds after which a rate is worth telling."""


def amplification(wear: WearReport) -> float | None:
    """Bytes of touched blocks for one byte of readings; None before anything was stored."""
    return wear.blocks / wear.payload if wear.payload else None


def card_years(bytes_per_day: float) -> float:
    """How many years a common card takes so much a day."""
    return CARD_BYTES * CARD_CYCLES / CARD_AMPLIFICATION / bytes_per_day / 365


def line(wear: WearReport, uptime: float) -> str:
    """One line about the wear since the process started ``uptime`` seconds ago."""
    factor = amplification(wear)
    told = (
        f"disk: {wear.syncs:,} syncs, {size(wear.blocks)} in blocks of 4 KiB for {size(wear.payload)} of readings"
    )
    if factor is not None:
        told += f" (amplification {factor:.1f})"
    if uptime >= _TOLD_FROM and wear.blocks:
        daily = wear.blocks / uptime * 86400
        told += f"; at this rate {size(daily)} a day, a 16 GB card lasts {_years(card_years(daily))}"
    if wear.syncs:
        told += f"; slowest sync {wear.slowest_sync * 1000:.0f} ms"
    return told


def _years(years: float) -> str:
    if years > 50:
        return "more than 50 years"
    return f"about {years:.0f} years" if years >= 2 else f"about {12 * years:.0f} months"
