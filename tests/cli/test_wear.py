"""The wear of a card in figures that people can act on."""

import pytest

from bridge.cli.wear import amplification, card_years, line
from bridge.report import WearReport


def wear(payload: int, blocks: int) -> WearReport:
    return WearReport(payload, blocks, blocks, 10, 0.1, 0.05, 9)


def test_one_small_commit_a_second_wears_a_common_card_in_about_sixteen_years() -> None:
    # 5.3 KB reach the device for each: 0.46 GB a day.
    assert card_years(5_300 * 86_400) == pytest.approx(16, abs=1)


def test_the_rate_is_that_of_the_whole_run() -> None:
    said = line(wear(1 << 30, 5_300 * 86_400 * 2), 2 * 86_400)
    assert "at this rate 436.7 MiB a day" in said
    assert "about 16 years" in said


def test_a_card_that_dies_soon_is_told_in_months() -> None:
    assert "about 3 months" in line(wear(1 << 30, 30 << 30), 86_400)


def test_a_rate_of_the_first_seconds_is_not_told() -> None:
    assert "a day" not in line(wear(1, 4096), 5)


def test_nothing_stored_has_no_amplification() -> None:
    assert amplification(wear(0, 4096)) is None
    assert amplification(wear(1024, 4096)) == 4
