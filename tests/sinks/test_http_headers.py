"""Headers of the HTTP sink: secrets come from files and stay out of every message."""

import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.errors import Paused, Rejected, Unavailable
from bridge.sinks.http_endpoint import HttpSettings
from tests.kit.http_sink import attempt, event, sink_to
from tests.kit.receiver import Answer, Drop, Receiver

SECRET = "s3cr3t-t0ken"


async def test_token_and_keys_come_from_files_and_are_read_on_each_open(tmp_path: Path) -> None:
    token, key = tmp_path / "token", tmp_path / "key"
    key.write_text("the key\n")
    async with Receiver() as receiver:
        sink = sink_to(
            receiver.url, bearer_token_file=token, header_files={"X-Api-Key": key}, headers={"X-Site": "plant7"}
        )
        for value in ("first", "second"):
            token.write_text(f"{value}\n")
            async with sink.open() as delivery:
                await delivery.send([event(1)])
    assert [request.headers["authorization"] for request in receiver.requests] == ["Bearer first", "Bearer second"]
    for request in receiver.requests:
        assert request.headers["x-api-key"] == "the key"
        assert request.headers["x-site"] == "plant7"
        assert request.headers["user-agent"].startswith("edge-bridge/")


async def test_a_missing_or_impossible_secret_pauses(tmp_path: Path) -> None:
    token = tmp_path / "token"
    async with Receiver() as receiver:
        sink = sink_to(receiver.url, bearer_token_file=token)
        assert "cannot read bearer_token_file" in (await attempt(sink, [])).why
        for content in ("", "\n", "  \n", f"{SECRET}\nX-Evil: 1\n", f"{SECRET}ä"):
            token.write_text(content)
            error = await attempt(sink, [])
            assert isinstance(error, Paused)
            assert SECRET not in error.why
        assert not receiver.requests


async def test_no_secret_is_in_any_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = tmp_path / "token"
    token.write_text(SECRET)
    async with Receiver() as receiver:
        url = f"{receiver.url}?sig=q-{SECRET}&x=1"
        sink = sink_to(url, bearer_token_file=token)
        # A receiver that echoes what it got.
        echo = f"Bearer {SECRET} is not known, nor q-{SECRET}".encode()
        receiver.next(Answer(401, {}, echo), Answer(503, {}, echo), Answer(422, {}, echo), Drop("after reading"))
        errors = [await attempt(sink, [event(1)]) for _ in range(4)]
    assert [type(error) for error in errors] == [Paused, Unavailable, Rejected, Unavailable]
    texts = [f"{error} {error.why} {error.rejected}" for error in errors] + [caplog.text, sink.peer, repr(sink)]
    assert not [text for text in texts if SECRET in text]
    assert sink.peer == f"{receiver.url}?sig=***&x=***"


async def test_a_token_in_plain_text_over_a_network_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET)
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **names: real("127.0.0.1", *more, **names))
    async with Receiver() as receiver:
        for host, lines in (("cloud.example", 1), ("localhost", 0)):
            caplog.clear()
            sink = sink_to(f"http://{host}:{receiver.port}/", bearer_token_file=token)
            for _ in range(2):
                async with sink.open():
                    pass
            assert caplog.text.count("plain text") == lines
            assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "https://u:p@h/"}, "bearer_token_file"),
        ({"url": "ftp://h/"}, "must look like"),
        ({"url": "https:///p"}, "must look like"),
        ({"url": "https://h:99999/"}, "Port out of range"),
        ({"url": "https://h/a b"}, "percent-encoded"),
        ({"url": "https://h/#x"}, "#"),
        ({"url": "http://h/", "tls": {}}, 'use "https:"'),
        ({"headers": {"Authorization": "Bearer x"}}, "header_files"),
        ({"headers": {"X-Api-Key": "x"}}, "header_files"),
        ({"headers": {"Cookie": "x"}}, "header_files"),
        ({"headers": {"Content-Type": "x"}}, "set by edge-bridge itself"),
        ({"headers": {"ce-id": "x"}}, "set by edge-bridge itself"),
        ({"header_files": {"Host": "/x"}}, "set by edge-bridge itself"),
        ({"headers": {"a b": "x"}}, "no name of a header"),
        ({"headers": {"X-A": "x\r\ny"}}, "printable ASCII"),
        ({"headers": {"X-A": "1"}, "header_files": {"x-a": "/x"}}, "set twice"),
        ({"bearer_token_file": "/x", "header_files": {"authorization": "/x"}}, "set twice"),
        ({"batch_events": 5}, "batch_events has no effect"),
        ({"mode": "batch", "concurrency": 5}, "concurrency has no effect"),
    ],
)
def test_a_mistake_in_the_table_is_named_with_advice(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpSettings.model_validate({"url": "https://h/p", **options})
    assert words in str(caught.value)
    assert "u:p" not in str(caught.value)
