import errno
import termios
from pathlib import Path

import pytest
import serial

import bridge.sources.serial_trouble
from bridge.errors import Paused, PeerError, Unavailable
from bridge.sources.serial_trouble import trouble

PORT = "/dev/serial/by-id/usb-meter"


def opening(number: int) -> Exception:
    return serial.SerialException(number, f"could not open port {PORT}: [Errno {number}] …")


def setting(number: int) -> Exception:
    """What pyserial raises when the terminal cannot be set: the number is in the exception it came from."""
    error = serial.SerialException("Could not configure port: …")
    error.__context__ = termios.error(number, "…")
    return error


def connecting() -> Exception:
    """What pyserial raises when a serial device server refuses."""
    error = serial.SerialException("Could not open port socket://…: [Errno 111] Connection refused")
    error.__context__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (connecting(), f"cannot open {PORT}: Connection refused"),
        (termios.error(errno.EINVAL, "Invalid argument"), "rate and format: Invalid argument"),
    ],
)
def test_the_cause_is_said_once_and_in_words(error: Exception, words: str) -> None:
    assert str(trouble(PORT, error)).endswith(words)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (opening(errno.ENOENT), Unavailable, "is the device plugged in?"),
        (opening(errno.ENXIO), Unavailable, "is the device plugged in?"),
        (opening(errno.EACCES), Paused, "dialout"),
        (opening(errno.EBUSY), Unavailable, "ModemManager"),
        (opening(errno.EAGAIN), Unavailable, "held by another program"),
        (opening(errno.EISDIR), Paused, "is no serial port"),
        (setting(errno.ENOTTY), Paused, "is no serial port"),
        (setting(errno.EINVAL), Paused, "rate and format"),
        (setting(errno.EIO), Unavailable, "cannot open"),
        (termios.error(errno.EIO, "Input/output error"), Unavailable, "Input/output error"),
        (ValueError("Failed to set custom baud rate (123): …"), Paused, "baud rate (123)"),
        (serial.SerialException("Could not open port socket://…: refused"), Unavailable, "refused"),
    ],
)
def test_each_cause_has_its_words_and_its_consequence(error: Exception, kind: type[PeerError], words: str) -> None:
    result = trouble(PORT, error)
    assert type(result) is kind
    assert PORT in str(result)
    assert words in str(result)


def test_a_missing_port_is_told_with_those_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.sources.serial_trouble, "BY_ID", tmp_path)
    assert "No USB serial adapter" in str(trouble(PORT, opening(errno.ENOENT)))
    for number in range(7):
        (tmp_path / f"usb-adapter-{number}").touch()
    message = str(trouble(PORT, opening(errno.ENOENT)))
    assert str(tmp_path / "usb-adapter-0") in message
    assert "and 2 more" in message
    monkeypatch.setattr(bridge.sources.serial_trouble, "BY_ID", tmp_path / "none")
    assert "No USB serial adapter" in str(trouble(PORT, opening(errno.ENOENT)))


def test_nobody_is_told_to_join_the_group_root(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.touch()
    assert "dialout" in str(trouble(str(port), opening(errno.EACCES))) or port.stat().st_gid != 0
