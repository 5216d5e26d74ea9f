"""The clock tells both times, the boot they belong to, and whether the wall can be believed."""

from pathlib import Path

import pytest

from bridge import clock


def test_both_clocks_go_forward() -> None:
    system = clock.SystemClock()
    first, second = system.now(), system.now()
    assert second.boot_ns >= first.boot_ns > 0
    assert second.wall_ns >= first.wall_ns > 0
    assert system.monotonic() <= system.monotonic()


def test_the_boot_id_is_eight_bytes_and_the_same_for_the_whole_boot() -> None:
    assert len(clock.SystemClock().boot_id) == 8
    assert clock.SystemClock().boot_id == clock.SystemClock().boot_id


def test_the_mark_of_timesyncd_is_believed_where_the_kernel_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Silent:
        @staticmethod
        def adjtimex(_: object) -> int:
            return -1

    monkeypatch.setattr(clock, "_libc", Silent)
    monkeypatch.setattr(clock, "TIMESYNCD_MARK", tmp_path / "synchronized")
    assert not clock.is_synchronised()
    (tmp_path / "synchronized").touch()
    assert clock.is_synchronised()
