"""The console sink: whole lines, and a reader that does not read harms nobody."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from bridge.clock import SystemClock
from bridge.errors import Unavailable
from bridge.event import Event
from bridge.ports import Site
from bridge.sinks.console import STANDARD_OUTPUT, ConsoleSettings, ConsoleSink


def event(number: int, data: bytes = b"{}") -> Event:
    return Event.create(
        id=str(number), source="urn:x", type="com.example.t", datacontenttype="application/json", data=data
    )


def ids(lines: bytes) -> list[str]:
    return [json.loads(line)["id"] for line in lines.splitlines()]


@dataclass
class Pipe:
    reader: int
    writer: int

    def stop_reading(self) -> None:
        os.close(self.reader)
        self.reader = -1

    def read(self, size: int = 1 << 20) -> bytes:
        return os.read(self.reader, size)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe(*os.pipe())
    yield pipe
    for fd in (pipe.reader, pipe.writer):
        if fd >= 0:
            os.close(fd)


async def full(pipe: Pipe) -> None:
    """Fills the pipe to the last byte."""
    os.set_blocking(pipe.writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(pipe.writer, b"\n" * 4096):
            pass
    os.set_blocking(pipe.writer, True)


async def test_each_event_is_one_line_of_json(pipe: Pipe) -> None:
    pretty = b'{\n  "text": "a\\nb",\r\n  "t": 21.50\n}'
    async with ConsoleSink(pipe.writer).open() as delivery:
        await delivery.send([event(1, pretty), event(2)])
    lines = pipe.read().split(b"\n")
    assert len(lines) == 3
    assert lines[2] == b""
    assert json.loads(lines[0])["data"] == {"text": "a\nb", "t": 21.50}
    assert b"21.50" in lines[0]
    assert ids(b"\n".join(lines[:2])) == ["1", "2"]


async def test_a_reader_that_went_away_is_unavailable(pipe: Pipe) -> None:
    pipe.stop_reading()
    async with ConsoleSink(pipe.writer).open() as delivery:
        with pytest.raises(Unavailable, match="standard output: Broken pipe") as caught:
            await delivery.send([event(1)])
    assert caught.value.confirmed == frozenset()


async def test_a_closed_output_is_unavailable(pipe: Pipe) -> None:
    os.close(pipe.writer)
    writer, pipe.writer = pipe.writer, -1
    with pytest.raises(Unavailable, match="standard output is closed"):
        async with ConsoleSink(writer).open():
            pass


async def test_a_full_pipe_does_not_stop_the_loop_and_goes_on_when_read(pipe: Pipe) -> None:
    await full(pipe)
    async with ConsoleSink(pipe.writer).open() as delivery:
        sending = asyncio.create_task(delivery.send([event(1)]))
        for _ in range(20):
            await asyncio.sleep(0.005)  # the loop turns
        assert not sending.done()
        rest = b""
        while not rest.endswith(b"}\n"):
            rest += await asyncio.to_thread(pipe.read)
        await sending
    assert ids(rest.strip()) == ["1"]


async def test_a_reader_that_never_reads_is_unavailable_with_what_it_took(pipe: Pipe) -> None:
    big = b'"' + b"x" * 40_000 + b'"'  # two do not fit into a pipe of 64 KiB
    async with ConsoleSink(pipe.writer, patience=0.2).open() as delivery:
        with pytest.raises(Unavailable, match=r"nothing was read for 0\.2 s") as caught:
            await delivery.send([event(1, big), event(2, big)])
        assert caught.value.confirmed == {0}
        assert caught.value.rejected == {}
        taken = pipe.read(1 << 17)
        await delivery.send([event(2)])
    lines = (taken + pipe.read()).split(b"\n")
    assert json.loads(lines[0])["id"] == "1"
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(lines[1])  # cut off, on a line of its own
    assert json.loads(lines[2])["id"] == "2"


async def test_cancelling_a_blocked_write_leaves_no_thread_at_work(pipe: Pipe) -> None:
    await full(pipe)
    sink = ConsoleSink(pipe.writer)
    async with sink.open() as delivery:
        sending = asyncio.create_task(delivery.send([event(1)]))
        await asyncio.sleep(0.02)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
    assert set(pipe.read()) == {ord("\n")}
    async with sink.open() as delivery:
        await delivery.send([event(2)])
    assert ids(pipe.read().strip()) == ["2"]


def test_the_settings_build_a_sink_to_standard_output() -> None:
    sink = ConsoleSettings().build("screen", Site("gw", SystemClock()))
    assert sink._fd == STANDARD_OUTPUT
    assert sink.peer == "standard output"
