"""What a spool does on real file systems that fill up, become read-only, break or hang."""

import asyncio
import os

from tests.disk.account import PATIENCE, Account
from tests.kit.volume import Volume


async def fill_and_drain(volume: Volume, turns: int) -> str:
    """Fills the disk until the oldest is dropped, drains, closes, and opens on the full disk, again and again."""
    account = Account(volume.path / "spool")
    for turn in range(turns):
        async with account as at:
            dropped = at.spool.report().dropped
            while at.spool.report().dropped < dropped + 50:
                await at.append(16)
            assert at.spool.report().writable
            assert volume.free_bytes() < 1 << 20, "the disk is not full"
            await at.drain()
            at.assert_complete()
            assert account.delivered > 100 * (turn + 1), "next to nothing was kept"
    async with account as at:
        await at.drain()
        at.assert_complete()
    return f"{turns} turns: {account.appended} appended, {account.delivered} delivered, {account.lost} dropped"


async def foreign_file(volume: Volume, turns: int) -> str:
    """Something else takes all the space there is, and every byte that becomes free, and goes away again."""
    account = Account(volume.path / "spool")
    async with account as at:
        for _ in range(turns):
            await at.append(100)
            with volume.stuffed():
                append = await at.until_refused()
                assert at.spool.report().last_error == os.strerror(28)
                await at.assert_stopped(append)
            async with asyncio.timeout(PATIENCE):
                await append
            assert at.spool.report().writable
            await at.drain()
            at.assert_complete()
    return f"{turns} turns: {account.appended} appended, {account.delivered} delivered, {account.lost} dropped"


async def read_only(volume: Volume, turns: int) -> str:
    """The directory becomes read-only and writable again, while it is open and before it is opened."""
    account = Account(volume.path / "spool")
    for _ in range(turns):
        async with account as at:
            await at.append(100)
            with volume.read_only():
                append = await at.until_refused()
                assert at.spool.report().last_error == os.strerror(30)
                await at.assert_stopped(append)
            async with asyncio.timeout(PATIENCE):
                await append
            assert at.spool.report().writable
            await at.append(50)
        with volume.read_only():
            await account.__aenter__()
            await account.until(lambda: not account.spool.report().writable, "a read-only start is told")
            append = asyncio.create_task(account.append(4))
            await account.assert_stopped(append)
        async with asyncio.timeout(PATIENCE):
            await append
        await account.until(lambda: account.spool.report().writable, "both logs can be written again")
        await account.drain()
        account.assert_complete()
        await account.__aexit__()
    assert account.lost == 0
    return f"{turns} turns: {account.appended} appended, {account.delivered} delivered, none lost"


async def broken(volume: Volume, turns: int) -> str:
    """The kernel finds an error on the card and makes it read-only; somebody checks it and mounts it again."""
    account = Account(volume.path / "spool")
    for _ in range(turns):
        async with account as at:
            await at.append(100)
            with volume.failed():
                append = await at.until_refused()
                await at.assert_stopped(append)
            async with asyncio.timeout(PATIENCE):
                await append
            assert at.spool.report().writable
            await at.append(50)
        async with account as at:
            await at.drain()
            at.assert_complete()
    assert account.lost == 0
    return f"{turns} turns: {account.appended} appended, {account.delivered} delivered, none lost"


async def hanging(volume: Volume, turns: int) -> str:
    """Writing hangs without an error; nothing is acknowledged meanwhile, reading goes on."""
    account = Account(volume.path / "spool")
    async with account as at:
        for _ in range(turns):
            await at.append(100)
            with volume.frozen():
                append = asyncio.create_task(at.append(4))
                await asyncio.sleep(0.3)
                assert not append.done(), "acknowledged although nothing can reach the disk"
                waiting = at.spool.lane.cursor("cloud").position().waiting
                before = at.delivered
                await at.drain()
                assert at.delivered - before == waiting == 100
                assert not append.done()
            async with asyncio.timeout(PATIENCE):
                await append
            await at.drain()
            at.assert_complete()
    return f"{turns} turns: {account.appended} appended, {account.delivered} delivered"
