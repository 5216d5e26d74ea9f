"""The HTTP sink against a real server on loopback."""

import asyncio
import gzip
import socket
from collections.abc import Sequence

import pytest

from bridge.errors import Rejected, Unavailable
from bridge.event import Event
from bridge.ports import Delivery
from bridge.sinks.http_delivery import Room
from bridge.wire import json_format
from tests.kit.http_sink import EVENTS, assert_nothing_runs_since, attempt, event, sent, sink_to
from tests.kit.proxy import ChaosProxy
from tests.kit.receiver import Answer, Arrival, Behaviour, Drop, Hang, Receiver


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
async def test_every_event_arrives_once_and_byte_for_byte(mode: str, compressed: bool) -> None:
    async with Receiver() as receiver, sink_to(receiver.url, mode=mode, gzip=compressed).open() as delivery:
        await delivery.send(EVENTS)
    assert receiver.accepted == {("urn:x", str(number)): 1 for number in range(10)}
    for arrival in receiver.arrivals:
        original = EVENTS[int(arrival.key[1])]
        assert arrival.mode == mode
        assert arrival.raw == (original.data if mode == "binary" else json_format.encode(original))
    assert len(receiver.requests) == (1 if mode == "batch" else 10)
    for request in receiver.requests:
        assert request.method == "POST"
        assert "transfer-encoding" not in request.headers
        assert int(request.headers["content-length"]) == len(request.body)
        assert (request.headers.get("content-encoding") == "gzip") is compressed


async def test_binary_mode_without_a_media_type_sends_none() -> None:
    async with Receiver() as receiver, sink_to(receiver.url, mode="binary").open() as delivery:
        await delivery.send([event(1, datacontenttype=None, data=None, subject="Euro €")])
    (request,) = receiver.requests
    assert "content-type" not in request.headers
    assert request.headers["ce-subject"] == "Euro%20%E2%82%AC"
    assert request.body == b""


async def test_an_event_that_http_cannot_hold_is_rejected_and_the_others_are_sent() -> None:
    # A device can name its media type; such an event may be on the disk, whatever was checked before.
    evil = Event("1", "urn:x", "t", datacontenttype="text/plain;\r\nX-Evil: 1", data=b"")
    async with Receiver() as receiver:
        error = await attempt(sink_to(receiver.url, mode="binary"), [event(0), evil, event(2)])
    assert isinstance(error, Rejected)
    assert list(error.rejected) == [1]
    assert sorted(sent(receiver)) == [0, 2]


@pytest.mark.parametrize("mode", ["structured", "batch"])
async def test_a_body_of_megabytes_is_sent_with_its_length(mode: str) -> None:
    large = event(1, b'"' + b"x" * 3_000_000 + b'"')
    async with Receiver() as receiver, sink_to(receiver.url, mode=mode).open() as delivery:
        await delivery.send([large])
    (request,) = receiver.requests
    assert request.arrivals[0].attributes["data"] == "x" * 3_000_000
    assert "transfer-encoding" not in request.headers


async def test_a_large_body_is_compressed_whole() -> None:
    large = event(1, b'"' + b"x" * 500_000 + b'"')
    async with Receiver() as receiver, sink_to(receiver.url, gzip=True).open() as delivery:
        await delivery.send([large])
    assert gzip.decompress(receiver.requests[0].body) == json_format.encode(large)
    assert len(receiver.requests[0].body) < 10_000


async def test_connections_are_used_again() -> None:
    async with Receiver() as receiver, sink_to(receiver.url, concurrency=2).open() as delivery:
        await delivery.send(EVENTS)
        await delivery.send(EVENTS)
    assert len({request.connection for request in receiver.requests}) <= 2


async def test_with_concurrency_1_events_arrive_in_order() -> None:
    async with Receiver() as receiver, sink_to(receiver.url, concurrency=1).open() as delivery:
        await delivery.send(EVENTS)
    assert sent(receiver) == list(range(10))


async def test_no_more_requests_are_under_way_than_concurrency_says() -> None:
    async with Receiver() as receiver:
        receiver.next(*[Hang()] * 3)
        async with sink_to(receiver.url, concurrency=3).open() as delivery:
            sending = asyncio.create_task(delivery.send(EVENTS))
            while len(receiver.requests) < 3:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            assert len(receiver.requests) == 3
            receiver.release()
            await sending
    assert sorted(sent(receiver)) == list(range(10))


async def test_a_batch_keeps_to_its_limits_and_to_the_order() -> None:
    size = len(json_format.encode(EVENTS[0])) + 1
    for options, most in (({"batch_events": 4}, 4), ({"batch_bytes": max(1024, 7 * size + 2)}, None)):
        async with Receiver() as receiver, sink_to(receiver.url, mode="batch", **options).open() as delivery:
            await delivery.send(EVENTS)
        assert sent(receiver) == list(range(10))
        if most:
            assert [len(request.arrivals) for request in receiver.requests] == [4, 4, 2]
        else:
            assert len(receiver.requests) > 1
            assert all(len(request.body) <= options["batch_bytes"] for request in receiver.requests)


@pytest.mark.parametrize("mode", ["structured", "batch"])
@pytest.mark.parametrize(
    ("drop", "words"),
    [
        (Drop("before reading"), ["closed the connection", "Connection reset"]),
        (Drop("after reading"), ["closed the connection", "Connection reset"]),
        (Drop("in mid-response"), ["in the middle of the answer", "Connection reset"]),
    ],
)
async def test_a_connection_that_breaks_is_unavailable_and_the_next_one_works(
    drop: Drop, words: list[str], mode: str
) -> None:
    async with Receiver() as receiver:
        sink = sink_to(receiver.url, mode=mode)
        receiver.next(drop)
        error = await attempt(sink, [event(1)])
        assert isinstance(error, Unavailable)
        assert any(word in error.why for word in words)
        assert error.why.startswith(receiver.url)
        assert (error.confirmed, error.rejected) == (frozenset(), {})
        async with sink.open() as delivery:
            await delivery.send([event(1)])
    assert receiver.accepted == {("urn:x", "1"): 1}
    assert not receiver.changed


async def test_a_receiver_that_closed_an_idle_connection_loses_nothing() -> None:
    async with Receiver() as receiver, sink_to(receiver.url).open() as delivery:
        await delivery.send([event(1)])
        await receiver.stop()
        await receiver.start()
        await delivery.send([event(2)])
    assert receiver.accepted == {("urn:x", "1"): 1, ("urn:x", "2"): 1}


async def test_a_silent_receiver_is_unavailable_after_the_timeout() -> None:
    async with Receiver() as receiver:
        receiver.next(Hang())
        error = await attempt(sink_to(receiver.url, timeout=0.3), [event(1)])
    assert isinstance(error, Unavailable)
    assert "no answer within 0.3 s" in error.why


async def test_nobody_there_is_unavailable_on_opening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in ("127.0.0.1", "localhost"):
        error = await attempt(sink_to(f"http://{host}:{port}/events"), [])
        assert isinstance(error, Unavailable)
        assert error.why == f"http://{host}:{port}/events: the connection failed: Connection refused"


async def test_a_name_that_does_not_exist_is_unavailable_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = await attempt(sink_to("http://nowhere.invalid/events"), [])
    assert isinstance(error, Unavailable)
    assert "the name nowhere.invalid cannot be found: Name or service not known" in error.why


async def test_a_black_hole_is_unavailable_within_the_timeouts() -> None:
    async with Receiver() as receiver, ChaosProxy(receiver.port) as proxy:
        sink = sink_to(f"http://127.0.0.1:{proxy.port}/events", timeout=0.3)
        async with sink.open() as delivery:
            await delivery.send([event(1)])
            proxy.black_hole()
            with pytest.raises(Unavailable, match=r"no answer within 0\.3 s"):
                await delivery.send([event(2)])
        proxy.forward()
        proxy.reset()
        async with sink.open() as delivery:
            await delivery.send([event(2)])
    assert set(receiver.accepted) == {("urn:x", "1"), ("urn:x", "2")}


async def test_what_does_not_speak_http_is_unavailable() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        error = await attempt(sink_to(f"http://127.0.0.1:{port}/"), [event(1)])
    assert isinstance(error, Unavailable)
    assert "does not speak HTTP" in error.why or "connection" in error.why


async def test_a_batch_that_breaks_the_connection_is_tried_smaller() -> None:
    def judge(arrivals: Sequence[Arrival]) -> Behaviour:
        return Drop("after reading") if len(arrivals) > 3 else Answer()

    async with Receiver(judge=judge) as receiver:
        sink = sink_to(receiver.url, mode="batch")
        waiting = list(EVENTS)
        for _ in range(6):
            try:
                async with sink.open() as delivery:
                    await delivery.send(waiting)
                    waiting = []
            except Unavailable as error:
                waiting = [one for index, one in enumerate(waiting) if index not in error.confirmed]
    assert not waiting
    assert set(receiver.accepted) == {("urn:x", str(number)) for number in range(10)}
    assert not receiver.changed


def test_room_shrinks_and_grows_back_but_not_past_what_was_refused_for_good() -> None:
    room = Room(1000)
    room.shrink(800)
    assert room.size == 400
    room.grow()
    room.grow()
    assert room.size == 1000
    room.shrink(900, for_good=True)
    room.grow()
    assert room.size == 450
    for _ in range(20):
        room.shrink(10)
    assert room.size == 1


@pytest.mark.parametrize("mode", ["structured", "batch"])
async def test_cancelling_leaves_nothing_running(mode: str) -> None:
    async with Receiver() as receiver:
        before = asyncio.all_tasks()
        receiver.next(*[Hang()] * (1 if mode == "batch" else 8))
        sink = sink_to(receiver.url, mode=mode)

        async def work() -> None:
            async with sink.open() as delivery:
                await delivery.send(EVENTS)

        working = asyncio.create_task(work())
        await receiver.hanging.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        await assert_nothing_runs_since(before)
        receiver.release()
        async with sink.open() as delivery:
            await delivery.send(EVENTS)
    assert set(receiver.accepted) == {("urn:x", str(number)) for number in range(10)}


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_cancelling_at_any_await_leaves_nothing_running(turns: int) -> None:
    async with Receiver() as receiver:
        before = asyncio.all_tasks()

        async def work() -> None:
            async with sink_to(receiver.url).open() as delivery:
                await delivery.send(EVENTS)

        working = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait({working})
        await assert_nothing_runs_since(before)


def test_a_send_gets_enough_work_for_its_connections() -> None:
    assert sink_to("http://h/", concurrency=3).max_events == 48
    batch = sink_to("http://h/", mode="batch", batch_events=7, batch_bytes=2048)
    assert (batch.max_events, batch.max_bytes) == (28, 8192)


async def test_an_answer_for_nothing_is_asked_of_nobody() -> None:
    async with Receiver() as receiver:
        for mode in ("structured", "batch"):
            async with sink_to(receiver.url, mode=mode).open() as delivery:
                opened: Delivery = delivery
                await opened.send([])
    assert not receiver.requests
