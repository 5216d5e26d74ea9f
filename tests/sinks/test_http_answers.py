"""What an HTTP status and its headers mean for the events of a request."""

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bridge.errors import Paused, Rejected, Unavailable
from bridge.sinks.http_answers import LONGEST_WAIT, clean, cut, masked, retry_after
from tests.kit.http_sink import EVENTS, attempt, event, refusing, sent, sink_to
from tests.kit.receiver import Answer, Arrival, Behaviour, Hang, Receiver

SECRET = "s3cr3t-t0ken"
NOW_NS = 1_800_000_000_000_000_000


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_confirms(status: int) -> None:
    async with Receiver() as receiver:
        receiver.next(Answer(status))
        async with sink_to(receiver.url).open() as delivery:
            await delivery.send([event(1)])


@pytest.mark.parametrize("mode", ["structured", "batch"])
@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 503, 504, 599])
async def test_a_busy_receiver_is_unavailable_for_as_long_as_it_says(status: int, mode: str) -> None:
    async with Receiver() as receiver:
        receiver.next(Answer(status, {"Retry-After": "7"}, b"come\nback \x1b[31mlater"))
        error = await attempt(sink_to(receiver.url, mode=mode), [event(1)])
    assert isinstance(error, Unavailable)
    assert error.retry_after == 7
    assert f"the receiver answered {status}" in error.why
    assert error.why.endswith("come back [31mlater, and asks for 7 s of rest")
    assert error.why.startswith(receiver.url)
    assert (error.confirmed, error.rejected) == (frozenset(), {})


@pytest.mark.parametrize("mode", ["structured", "batch", "binary"])
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "bearer_token_file"),
        (402, "account"),
        (403, "permissions"),
        (404, "check the path in url"),
        (405, "does not take POST"),
        (407, "proxy"),
        (410, "withdrawn"),
        (304, "which leads elsewhere: redirects are not followed"),
    ],
)
async def test_a_fault_of_the_configuration_pauses_and_costs_no_event(status: int, advice: str, mode: str) -> None:
    async with Receiver() as receiver:
        receiver.judge = lambda _: Answer(status)
        error = await attempt(sink_to(receiver.url, mode=mode), EVENTS)
    assert isinstance(error, Paused)
    assert advice in error.why
    assert (error.confirmed, error.rejected) == (frozenset(), {})


async def test_a_redirect_is_not_followed_and_says_where_it_leads() -> None:
    async with Receiver() as elsewhere, Receiver() as receiver:
        receiver.next(Answer(307, {"Location": f"{elsewhere.url}?sig={SECRET}"}))
        error = await attempt(sink_to(receiver.url), [event(1)])
        assert not elsewhere.requests
    assert isinstance(error, Paused)
    assert f"leads to {elsewhere.url}?sig=***" in error.why
    assert SECRET not in error.why


async def test_a_form_that_the_receiver_does_not_take_costs_no_event() -> None:
    for mode, expected in (("structured", Paused), ("batch", Paused), ("binary", Rejected)):
        async with Receiver() as receiver:
            receiver.judge = lambda _: Answer(415)
            error = await attempt(sink_to(receiver.url, mode=mode), EVENTS[:2])
        # In binary mode the content type is that of the event's own data.
        assert type(error) is expected


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("status", [400, 406, 409, 413, 422, 431, 451])
async def test_an_event_that_is_to_blame_is_rejected_with_its_reason(status: int, mode: str) -> None:
    async with Receiver(judge=refusing(3, 8, status=status)) as receiver:
        error = await attempt(sink_to(receiver.url, mode=mode), EVENTS)
    assert isinstance(error, Rejected)
    assert set(error.rejected) == {3, 8}
    assert str(status) in error.rejected[3]
    assert "no such unit" in error.rejected[8]
    assert {int(number) for _, number in receiver.accepted} == set(range(10)) - {3, 8}


@pytest.mark.parametrize("bad", [(0,), (9,), (4, 5), (0, 3, 9), tuple(range(10)), ()])
async def test_a_poisoned_batch_costs_only_the_events_to_blame(bad: tuple[int, ...]) -> None:
    async with Receiver(judge=refusing(*bad)) as receiver, sink_to(receiver.url, mode="batch").open() as delivery:
        if bad:
            with pytest.raises(Rejected) as caught:
                await delivery.send(EVENTS)
            assert set(caught.value.rejected) == set(bad)
        else:
            await delivery.send(EVENTS)
    good = [number for number in range(10) if number not in bad]
    assert receiver.accepted == {("urn:x", str(number)): 1 for number in good}
    assert [int(number) for _, number in receiver.accepted] == good  # in order all the same
    assert not receiver.changed


async def test_a_batch_that_is_too_large_is_cut_and_the_size_is_remembered() -> None:
    limit = 700

    def judge(arrivals: Sequence[Arrival]) -> Behaviour:
        return Answer(413) if sum(len(arrival.raw) for arrival in arrivals) > limit else Answer()

    giant = event(10, b'"' + b"x" * 2000 + b'"')
    async with Receiver(judge=judge) as receiver, sink_to(receiver.url, mode="batch").open() as delivery:
        with pytest.raises(Rejected) as caught:
            await delivery.send([*EVENTS, giant])
        assert set(caught.value.rejected) == {10}
        assert "413" in caught.value.rejected[10]
        assert "bytes" in caught.value.rejected[10]
        before = len(receiver.requests)
        await delivery.send(EVENTS)
        assert all(sum(len(a.raw) for a in request.arrivals) <= limit for request in receiver.requests[before:])
    assert receiver.accepted == {("urn:x", str(number)): 2 for number in range(10)}


async def test_what_was_settled_before_a_failure_is_exact() -> None:
    script: Mapping[int, Behaviour] = {2: Answer(422), 5: Answer(503, {"Retry-After": "3"})}

    def judge(arrivals: Sequence[Arrival]) -> Behaviour:
        return script.get(int(arrivals[0].key[1]), Answer())

    async with Receiver(judge=judge) as receiver:
        error = await attempt(sink_to(receiver.url, concurrency=1), EVENTS)
    assert isinstance(error, Unavailable)
    assert error.confirmed == {0, 1, 3, 4}
    assert set(error.rejected) == {2}
    assert error.retry_after == 3
    assert sent(receiver) == [0, 1, 2, 3, 4, 5]


async def test_what_is_under_way_when_another_fails_is_waited_for() -> None:
    async with Receiver() as receiver:
        receiver.next(Hang(), Answer(503))
        sink = sink_to(receiver.url, concurrency=2)
        failing = asyncio.create_task(attempt(sink, EVENTS))
        while len(receiver.requests) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        receiver.release()
        error = await failing
    assert len(error.confirmed) == len(receiver.accepted) == 1
    assert len(receiver.requests) == 2


async def test_a_pause_outweighs_a_busy_answer() -> None:
    async with Receiver() as receiver:
        receiver.next(Answer(503, {"Retry-After": "9"}), Answer(401))
        error = await attempt(sink_to(receiver.url, concurrency=2), EVENTS)
    assert isinstance(error, Paused)
    assert error.retry_after == 9


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if await reader.read(1 << 16):
                writer.write(b"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not writer.is_closing():
                    writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
                    await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await attempt(sink_to(f"http://127.0.0.1:{port}/", timeout=5), [event(1)])
    assert isinstance(error, Rejected)
    assert len(error.rejected[0]) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"<html>\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
        b"<p>"
        + b"Your browser sent a request that this server could not understand. " * 4
        + b"Reason: You're speaking plain HTTP to an SSL-enabled server port.",
        b"Client sent an HTTP request to an HTTPS server.",
    ],
)
async def test_a_server_that_expects_tls_says_so_in_a_400_and_costs_no_event(body: bytes) -> None:
    async with Receiver() as receiver:
        receiver.next(Answer(400, {}, body))
        error = await attempt(sink_to(receiver.url), [event(1)])
    assert isinstance(error, Paused)
    assert "use https in url" in error.why


def test_retry_after_is_read_in_both_of_its_forms() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    ours = int(now.timestamp() * 1e9)
    later, earlier = (format_datetime(now + timedelta(seconds=s), usegmt=True) for s in (90, -90))
    wrong = format_datetime(now - timedelta(days=9000), usegmt=True)
    assert retry_after({"retry-after": "120"}, ours) == 120
    assert retry_after({"retry-after": " 0 "}, ours) == 0
    assert retry_after({"retry-after": later}, ours) == 90
    assert retry_after({"retry-after": earlier}, ours) == 0
    # The gateway believes it is 1970, the answer says what time it is.
    assert retry_after({"retry-after": later, "date": format_datetime(now, usegmt=True)}, 0) == 90
    assert retry_after({"retry-after": later, "date": "rubbish"}, ours) == 90
    assert retry_after({"retry-after": later, "date": wrong}, ours) == LONGEST_WAIT
    assert retry_after({"retry-after": "999999999"}, ours) == LONGEST_WAIT


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "9" * 5000, "Mon, 99 Foo 2026 12:00:00 GMT", "\x00"])
def test_a_retry_after_that_says_nothing_is_ignored(text: str) -> None:
    assert retry_after({"retry-after": text}, NOW_NS) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p", "https://h/p"),
        ("https://h:1/p?a=1&b", "https://h:1/p?a=***&***"),
        ("https://u:p@h/p#x", "https://h/p"),
        ("https://h/\x1b[31m", "https://h/ [31m"),
        ("https://[", "an address that is no URL"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_what_a_receiver_says_becomes_one_printable_line() -> None:
    text = cut(clean(b"\xff\x00bad \xe2\x80\xae" + b"x" * 500, ()))
    assert len(text) == 200
    assert json.loads(json.dumps(text)) == text
    assert text.isprintable()
