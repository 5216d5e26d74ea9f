"""Questions with many lines, from both ends: streams, uploads, clients that go away and bridges that do."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path

import pytest

from bridge.errors import CommandFailed, SpoolLocked
from bridge.host import control
from bridge.host.asking import Asking
from bridge.host.control import ControlSocket, NotRunning, ask


async def hello() -> object:
    return {"hello": 1}


class Streams:
    """Verbs with many lines, and what became of them."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.begun = asyncio.Event()
        self.received: list[bytes] = []
        self.waiting = 0

    async def count(self, args: Mapping[str, object], _: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        assert isinstance(args["count"], int)
        for number in range(args["count"]):
            yield b'{"item":%d}\n' % number
        yield b'{"answer":{}}\n'

    async def endless(self, _: Mapping[str, object], __: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        self.begun.set()
        try:
            while True:
                yield b'{"item":"%b"}\n' % (b"x" * 60_000)
        finally:
            self.ended.set()

    async def silent(self, _: Mapping[str, object], __: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        self.begun.set()
        self.waiting += 1
        try:
            await asyncio.Event().wait()
            yield b""
        finally:
            self.ended.set()

    async def take(self, _: Mapping[str, object], upload: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in upload:
            self.received.append(piece)
            yield b'{"progress":{"what":"bytes","done":1}}\n'
        yield b'{"answer":{"size":%d}}\n' % sum(map(len, self.received))

    async def refuse(self, _: Mapping[str, object], __: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        yield b'{"item":1}\n'
        raise SpoolLocked("the spool is locked")

    def serve(self, path: Path) -> ControlSocket:
        names = ("count", "endless", "silent", "take", "refuse")
        return ControlSocket(path, {"status": hello}, {name: getattr(self, name) for name in names}, {"take"})


async def asked(path: Path, verb: str, upload: AsyncIterator[bytes] | None = None, **args: object) -> list[bytes]:
    asking = Asking(path, verb, args, upload)
    assert await asking.connect()
    return [line async for line in asking.lines()]


async def test_a_stream_comes_whole_and_in_order(tmp_path: Path) -> None:
    async with Streams().serve(tmp_path / "c.sock"):
        lines = await asked(tmp_path / "c.sock", "count", count=5000)
    assert lines == [*(b'{"item":%d}' % number for number in range(5000)), b'{"answer":{}}']


async def test_an_error_keeps_its_kind_and_its_exit_code(tmp_path: Path) -> None:
    async with Streams().serve(tmp_path / "c.sock"):
        with pytest.raises(SpoolLocked, match="the spool is locked"):
            await asked(tmp_path / "c.sock", "refuse")
        with pytest.raises(CommandFailed, match="unknown verb; known: count, endless"):
            await asked(tmp_path / "c.sock", "fly")


async def test_a_client_that_goes_away_ends_what_it_asked_for(tmp_path: Path) -> None:
    for verb in ("endless", "silent"):
        streams = Streams()
        async with streams.serve(tmp_path / "c.sock"):
            _, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
            writer.write(json.dumps({"verb": verb}).encode() + b"\n")
            await asyncio.wait_for(streams.begun.wait(), 5)
            writer.close()
            await asyncio.wait_for(streams.ended.wait(), 5)


async def test_a_client_that_reads_nothing_holds_nobody_up_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Streams()
    async with streams.serve(tmp_path / "c.sock"):
        _, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
        monkeypatch.setattr(control, "STREAM_PATIENCE", 0.2)
        writer.write(b'{"verb": "endless"}\n')
        await asyncio.wait_for(streams.begun.wait(), 5)
        assert await asyncio.to_thread(ask, tmp_path / "c.sock", "status") == {"hello": 1}
        await asyncio.wait_for(streams.ended.wait(), 5)
        writer.close()


async def test_silence_is_filled_so_that_the_client_knows_that_somebody_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "SIGN_OF_LIFE", 0.02)
    async with Streams().serve(tmp_path / "c.sock"):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
        writer.write(b'{"verb": "silent"}\n')
        assert await asyncio.wait_for(reader.readexactly(3), 5) == b"\n\n\n"
        writer.close()


async def test_an_upload_is_taken_as_fast_as_it_is_used_while_answers_flow(tmp_path: Path) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for _ in range(2000):
            yield b"x" * 10_000

    streams = Streams()
    async with streams.serve(tmp_path / "c.sock"):
        lines = await asked(tmp_path / "c.sock", "take", upload())
    assert lines[-1] == b'{"answer":{"size":20000000}}'
    assert max(map(len, streams.received)) <= 4 * control.MAX_LINE


async def test_an_upload_that_fails_ends_the_question_with_its_error(tmp_path: Path) -> None:
    async def upload() -> AsyncIterator[bytes]:
        yield b"x"
        raise CommandFailed("the file cannot be read")

    async with Streams().serve(tmp_path / "c.sock"):
        with pytest.raises(CommandFailed, match="the file cannot be read"):
            await asked(tmp_path / "c.sock", "take", upload())


async def test_a_bridge_that_ends_in_mid_answer_is_said(tmp_path: Path) -> None:
    streams = Streams()
    async with streams.serve(tmp_path / "c.sock"):
        asking = asyncio.create_task(asked(tmp_path / "c.sock", "silent"))
        await asyncio.wait_for(streams.begun.wait(), 5)
    with pytest.raises(NotRunning, match="went away before it had answered"):
        await asking
    assert streams.ended.is_set()


async def test_more_streams_than_there_is_room_for_are_refused_and_status_is_not(tmp_path: Path) -> None:
    streams = Streams()
    async with streams.serve(tmp_path / "c.sock"):
        held = [await asyncio.open_unix_connection(tmp_path / "c.sock") for _ in range(control.MAX_STREAMS)]
        for _, writer in held:
            writer.write(b'{"verb": "silent"}\n')
        while streams.waiting < control.MAX_STREAMS:
            await asyncio.sleep(0.01)
        with pytest.raises(CommandFailed, match="under way already"):
            await asked(tmp_path / "c.sock", "count", count=1)
        assert await asyncio.to_thread(ask, tmp_path / "c.sock", "status") == {"hello": 1}
        for _, writer in held:
            writer.close()


async def test_nobody_to_ask_is_no_error_of_its_own(tmp_path: Path) -> None:
    assert not await Asking(tmp_path / "c.sock", "count", {}).connect()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "d.sock"))
    assert not await Asking(tmp_path / "d.sock", "count", {}).connect()


async def test_a_question_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    async with Streams().serve(tmp_path / "c.sock"):
        with pytest.raises(CommandFailed, match="name fewer"):
            await asked(tmp_path / "c.sock", "count", offsets=[*range(20_000)])
