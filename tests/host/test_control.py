"""The control socket answers one line with one line, and nothing that is sent to it stops the bridge."""

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from bridge.host.control import ControlSocket, NotRunning, ask


async def hello() -> object:
    return {"hello": 1}


async def test_a_verb_is_answered(tmp_path: Path) -> None:
    async with ControlSocket(tmp_path / "run" / "c.sock", {"status": hello}):
        assert await asyncio.to_thread(ask, tmp_path / "run" / "c.sock", "status") == {"hello": 1}


async def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with ControlSocket(path, {"status": hello}):
        assert await asyncio.to_thread(ask, path, "status") == {"hello": 1}
    assert not path.exists()


async def test_only_the_owner_and_its_group_may_ask(tmp_path: Path) -> None:
    async with ControlSocket(tmp_path / "c.sock", {}):
        assert (tmp_path / "c.sock").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize(
    "request_", [b"", b"\n", b"garbage\n", b"[]\n", b'{"verb": []}\n', b'{"verb": "x"}\n', b"x" * 99999]
)
async def test_garbage_gets_an_answer_or_nothing_and_the_next_question_is_answered(
    tmp_path: Path, request_: bytes
) -> None:
    path = tmp_path / "c.sock"
    async with ControlSocket(path, {"status": hello}):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(request_)
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
        assert await asyncio.to_thread(ask, path, "status") == {"hello": 1}


async def test_a_socket_that_cannot_be_made_is_said_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        async with ControlSocket(tmp_path / "file" / "c.sock", {}):
            pass
        async with ControlSocket(tmp_path / ("long" * 50) / "c.sock", {}):
            pass
    assert len([record for record in caplog.records if "no status" in record.message]) == 2


def test_without_a_bridge_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no bridge is running"):
        ask(tmp_path / "c.sock", "status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "d.sock"))
    with pytest.raises(NotRunning, match="no bridge answers"):
        ask(tmp_path / "d.sock", "status")
