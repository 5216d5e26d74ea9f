"""Log lines reach their reader whole, or are counted as dropped; nobody who logs ever waits."""

import asyncio
import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from bridge.host import journal

log = logging.getLogger("bridge.test")


def as_journal(stream: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log").open("w+", encoding="utf-8") as stream:
        yield stream


def lines(stream: TextIO) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


def test_outside_the_journal_a_line_has_time_and_level(file: TextIO) -> None:
    with journal.configure("info", file):
        log.info("spool %s opened", "default")
        log.debug("not this")
    (line,) = lines(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO     spool default opened", line)


def test_for_the_journal_every_line_has_its_priority(file: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    as_journal(file, monkeypatch)
    with journal.configure("debug", file):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "said")
        log.error("failed", exc_info=ValueError("first\n<0>forged"))
    found = lines(file)
    assert found[:5] == ["<7>said", "<6>said", "<4>said", "<3>said", "<2>said"]
    assert found[5] == "<3>failed"
    assert all(line.startswith("<3>  ") for line in found[6:])
    assert "<3>  <0>forged" in found[6:]


def test_another_stream_is_not_taken_for_the_journal(file: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not journal.is_journal(file)
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert not journal.is_journal(file)
    assert not journal.is_journal(io.StringIO(), {"JOURNAL_STREAM": ":"})


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\n<0>b", "a\\n<0>b"),
        ("\x1b[31mred\r", "\\x1b[31mred\\r"),
        ("\x00\x9b\u2028\u202e\ud800", "\\x00\\x9b\\u2028\\u202e\\ud800"),
        ("Größe 5 °C", "Größe 5 °C"),
    ],
)
def test_what_a_device_sent_cannot_forge_a_line(file: TextIO, text: str, escaped: str) -> None:
    with journal.configure("info", file):
        log.info("got %s", text)
    (line,) = lines(file)
    assert line.endswith(f"got {escaped}")


def test_a_line_has_an_end(file: TextIO) -> None:
    with journal.configure("info", file):
        log.info("x" * 100_000)
    (line,) = lines(file)
    assert len(line) < journal.MAX_LENGTH + 100
    assert line.endswith(f"({100_000 - journal.MAX_LENGTH} more characters)")


def test_one_outage_gives_no_lines_of_libraries(file: TextIO) -> None:
    noisy = [logging.getLogger(name) for name in (*journal.NOISY, "aiormq.connection")]
    with journal.configure("info", file):
        # As aiomqtt does when it is imported.
        logging.getLogger("mqtt").setLevel(logging.WARNING)
        for logger in noisy:
            logger.error("connection lost")
        logging.getLogger("asyncio").warning("socket.send() raised exception.")
        logging.getLogger("asyncio").error("Task exception was never retrieved")
        logging.getLogger("other").warning("hm")
    assert [line[29:] for line in lines(file)] == ["asyncio: Task exception was never retrieved", "other: hm"]


def test_with_debug_libraries_speak(file: TextIO) -> None:
    with journal.configure("debug", file):
        # A name that no library sets the level of when it is imported.
        logging.getLogger("pamqp.test").warning("hello")
    assert len(lines(file)) == 1


async def test_a_reader_that_stalls_blocks_nobody_and_what_it_missed_is_counted() -> None:
    reading, writing = os.pipe()
    count = 20_000
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w") as stream:
        with journal.configure("info", stream):
            for number in range(count):
                log.info("line %d %s", number, "x" * 50)
                if number % 1000 == 0:
                    await asyncio.sleep(0)
            taker = asyncio.create_task(asyncio.to_thread(reader.read))
            # The end waits for the reader, which reads again by now.
            await asyncio.sleep(0)
        stream.close()
        text = (await taker).decode()
    dropped = sum(int(number) for number in re.findall(r"^(\d+) log lines were dropped", text, re.MULTILINE))
    written = len(re.findall(r"INFO     line \d+ x{50}$", text, re.MULTILINE))
    assert dropped > 0
    assert written + dropped == count
    assert f"line {count - 1} " in text


def test_a_reader_that_never_reads_again_cannot_keep_the_process_alive() -> None:
    code = (
        "import logging, sys\nfrom bridge.host import journal\njournal.CLOSING_TIME = 0.05\n"
        "with journal.configure('info'):\n"
        "    for _ in range(5000): logging.getLogger('bridge').info('x' * 100)\n"
        "print('over')\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read() == "over\n"
        assert process.wait(timeout=30) == 0


def test_a_reader_that_is_gone_is_survived() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    with journal.configure("info", stream):
        log.info("into the void")
    stream.close()


def test_a_descriptor_that_does_not_wait_loses_nothing() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    chunks: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as reader:
            chunks.append(reader.read())

    taker = threading.Thread(target=read)
    with os.fdopen(writing, "w") as stream:
        with journal.configure("info", stream):
            for _ in range(1000):
                log.info("x" * 500)
            taker.start()
        stream.close()
        taker.join()
    assert chunks[0].count(b"\n") == 1000


def test_a_message_that_does_not_fit_its_arguments_is_still_a_line(file: TextIO) -> None:
    writer = journal._Writer(file.fileno())
    tap = journal._Tap(writer)
    tap.handle(logging.LogRecord("bridge.x", logging.INFO, "", 0, "%d readings", ("seven",), None))
    writer.start()
    writer.close(5)
    (line,) = lines(file)
    assert "%d readings" in line
    assert "seven" in line


def test_warnings_of_python_are_lines_too(file: TextIO) -> None:
    with journal.configure("info", file):
        logging.getLogger("py.warnings").warning("%s", "old")
    assert "py.warnings: old" in lines(file)[0]


def test_afterwards_logging_is_as_before(file: TextIO) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with journal.configure("error", file):
        assert (root.level, list(root.handlers)) != before
    assert (root.level, list(root.handlers)) == before


def test_only_a_terminal_gets_colour() -> None:
    record = logging.LogRecord("bridge.x", logging.ERROR, "", 0, "said", None, None)
    assert "\x1b[31mERROR   \x1b[0m said" in journal.PlainForm(colour=True).format(record)
    assert "\x1b" not in journal.PlainForm().format(record)


def test_lines_without_a_log_carry_their_priority_too(file: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.say("one\ntwo\x1b", stream=file)
    assert lines(file) == ["one", "two\\x1b"]
    as_journal(file, monkeypatch)
    journal.say("three", stream=file)
    assert lines(file)[-1] == "<3>three"
