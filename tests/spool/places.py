"""What several tests of the spool share."""

import asyncio
from pathlib import Path

from bridge.ports import Cursor

PATH = Path("/var/spool/bridge")
LANE = PATH / "lanes" / "default"


async def drain(cursor: Cursor, count: int) -> list[bytes]:
    """Reads and settles ``count`` records."""
    payloads: list[bytes] = []
    async with asyncio.timeout(30):
        while len(payloads) < count:
            batch = await cursor.read(min(100, count - len(payloads)), 100_000)
            payloads += batch.payloads
            cursor.settle(batch.offsets)
    return payloads
