import asyncio

import pytest

from bridge.errors import SpoolUnusable
from bridge.spool.layout import Item
from bridge.spool.pending import MAX_PENDING, Queue


async def test_offsets_are_given_in_the_order_of_calls() -> None:
    queue = Queue("log", 10)
    assert (await queue.append((b"a", b"b"), {}, None))[0] == 10
    assert (await queue.append((b"c",), {}, None))[0] == 12
    assert [pending.item.first for pending in queue.take(10_000)] == [10, 12]
    assert not queue


async def test_a_group_is_bounded_and_never_empty() -> None:
    queue = Queue("log", 0)
    for _ in range(3):
        await queue.append((bytes(1000),), {}, None)
    assert len(queue.take(1)) == 1
    assert len(queue.take(2200)) == 2


async def test_nothing_resolves_before_it_is_confirmed() -> None:
    queue = Queue("log", 0)
    _, done = await queue.append((b"a",), {}, None)
    taken = queue.take(100)
    assert not done.done()
    queue.confirm(taken)
    assert done.done()


async def test_when_too_much_waits_appends_queue_up_in_order() -> None:
    queue = Queue("log", 0)
    await queue.append((bytes(MAX_PENDING),), {}, None)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(queue.append((b"%d" % number,), {}, None)))
        await asyncio.sleep(0)
    assert queue.next == 1
    queue.confirm(queue.take(1))
    results = await asyncio.gather(*tasks)
    assert [first for first, _ in results] == [1, 2, 3]
    assert [pending.item.payloads for pending in queue.take(10_000)] == [(b"0",), (b"1",), (b"2",)]


async def test_cancelled_before_there_was_room_stores_nothing_and_blocks_nobody() -> None:
    queue = Queue("log", 0)
    await queue.append((bytes(MAX_PENDING),), {}, None)
    first = asyncio.create_task(queue.append((b"a",), {}, None))
    second = asyncio.create_task(queue.append((b"b",), {}, None))
    await asyncio.sleep(0)
    first.cancel()
    queue.confirm(queue.take(1))
    assert (await second)[0] == 1
    assert first.cancelled()


async def test_cancelling_afterwards_takes_nothing_back() -> None:
    queue = Queue("log", 0)
    _, done = await queue.append((b"a",), {}, None)
    done.cancel()
    taken = queue.take(100)
    queue.confirm(taken)
    assert taken[0].item == Item(0, (b"a",), None)


async def test_what_a_stop_gives_up_is_counted_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue("log", 5)
    queue.add_again([Item(0, (b"kept elsewhere",), None)])
    for _ in range(3):
        _, done = await queue.append((b"a", b"b"), {}, None)
        done.cancel()  # the source that waited was stopped
    queue.refuse(queue.take(1 << 20), "Read-only file system")
    await queue.append((b"c",), {}, None)
    queue.close("Read-only file system")
    (line,) = caplog.messages
    assert line.startswith("log: 7 records were not written before the stop")
    assert "Read-only file system" in line


async def test_closing_in_order_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue("log", 0)
    await queue.append((b"a",), {}, None)
    queue.confirm(queue.take(100))
    queue.close(None)
    assert not caplog.records


async def test_closing_leaves_nobody_waiting() -> None:
    queue = Queue("log", 0)
    _, done = await queue.append((bytes(MAX_PENDING),), {}, None)
    waiting = asyncio.create_task(queue.append((b"a",), {}, None))
    await asyncio.sleep(0)
    queue.close("Input/output error")
    with pytest.raises(SpoolUnusable, match="Input/output error"):
        await done
    with pytest.raises(SpoolUnusable, match="closed"):
        await waiting
