import logging

import pytest

from bridge.clock import SystemClock
from bridge.spool.trouble import Trouble


def test_one_line_when_the_disk_goes_and_one_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    trouble = Trouble("/var/spool", SystemClock())
    trouble.end()
    for _ in range(3):
        trouble.begin(OSError(5, "Input/output error"))
    assert not trouble.writable
    assert trouble.last_error == "Input/output error"
    trouble.end()
    trouble.end()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "/var/spool" in caplog.text


def test_what_something_else_makes_up_for_is_noted_only(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("/var/spool", SystemClock())
    trouble.note(OSError(28, "No space left on device"))
    assert trouble.writable
    assert trouble.last_error == "No space left on device"
    assert not caplog.records
