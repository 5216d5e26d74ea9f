"""Faults in limits, ages and policies, in what people do to the queue, and in what is said of the disk."""

from tests.mutants.mutant import Mutant

_BOOK = "bridge/spool/book.py"
_CLOCK = "bridge/clock.py"
_COMMITTER = "bridge/spool/committer.py"
_LOG = "bridge/spool/log.py"
_METER = "bridge/spool/meter.py"
_RETENTION = "bridge/spool/retention.py"
_ROOM = "bridge/spool/room.py"
_SPOOL = "bridge/spool/spool.py"

_AGES = ["tests/run/test_feed.py", "tests/spool/test_room.py"]
_LANES = "tests/spool/test_lanes.py"

LIMITS = (
    Mutant(
        "lane that blocks drops all the same",
        _RETENTION,
        "not (force or not self._book.is_wanted(segments[1].first))",
        "not segments",
        ["tests/spool/test_room.py"],
    ),
    Mutant(
        "lane that blocks drops on a full disk",
        _COMMITTER,
        "drop_oldest(DISK_FULL, force=self._room.drops)",
        "drop_oldest(DISK_FULL, force=True)",
        ["tests/spool/test_room.py"],
    ),
    Mutant(
        "lane that refuses lets its device wait",
        _ROOM,
        'return self._limits.on_full == "reject-newest"',
        "return False",
        ["tests/spool/test_room.py"],
    ),
    Mutant(
        "orphan that blocks",
        _BOOK,
        "for ledger in owned or self.ledgers.values())",
        "for ledger in self.ledgers.values())",
        ["tests/spool/test_retention.py", "tests/spool/test_room.py"],
    ),
    Mutant(
        "segment retired beyond the written start",
        _RETENTION,
        "segments[count].first > self._book.start_written",
        "segments[count].first < 0",
        ["tests/spool/test_retention.py"],
    ),
    Mutant(
        "min_free_disk not kept",
        _RETENTION,
        "< self._limits.floor(space) else None",
        "< 0 else None",
        ["tests/spool/test_retention.py"],
    ),
)

AGES = (
    Mutant(
        "age told by the wall clock within one boot",
        _CLOCK,
        "(now.boot_ns - moment.boot_ns)",
        "(now.wall_ns - moment.wall_ns)",
        _AGES,
    ),
    Mutant(
        "age told by a clock that was not synchronised then",
        _CLOCK,
        "if moment.synchronised and now.synchronised:",
        "if now.synchronised:",
        _AGES,
    ),
    Mutant(
        "age told by a clock that is not synchronised now",
        _CLOCK,
        "if moment.synchronised and now.synchronised:",
        "if moment.synchronised:",
        _AGES,
    ),
)

UPKEEP = (
    Mutant(
        "later version refused only after other lanes were touched",
        _SPOOL,
        "trouble\n            for part in (*lanes.values(), dead):\n                await stack.enter",
        "trouble\n                await stack.enter",
        [_LANES],
    ),
    Mutant(
        "purge not durable",
        _LOG,
        "        await self._writer.write_down(anew=True)\n        return sum(counts)",
        "        return sum(counts)",
        [_LANES],
    ),
    Mutant(
        "purge of one cursor not durable",
        _LOG,
        "PURGED)\n        self._writer.settled(count)\n        await self._writer.write_down()",
        "PURGED)\n        self._writer.settled(count)",
        [_LANES],
    ),
    Mutant(
        "purge of one cursor not counted",
        _LOG,
        "self._retention.lose((count, 0), PURGED)",
        "pass",
        [_LANES],
    ),
    Mutant(
        "discarded dead letters not durably",
        _LOG,
        "in runs(offsets))\n        self._writer.settled(count)\n        await self._writer.write_down()",
        "in runs(offsets))\n        self._writer.settled(count)",
        [_LANES],
    ),
    Mutant(
        "forgotten cursor comes back",
        _LOG,
        "self._book.forget(cursor)\n        await self._writer.write_down(anew=True)",
        "self._book.forget(cursor)\n        await self._writer.write_down()",
        [_LANES],
    ),
)

DISK = (
    Mutant(
        "hung disk not known",
        _METER,
        "self._monotonic() - oldest[0], oldest[1]",
        "0.0, oldest[1]",
        ["tests/spool/test_meter.py"],
    ),
    Mutant(
        "hung disk not told",
        _SPOOL,
        "if waited > STALL and not worst:",
        "if waited < 0:",
        [_LANES],
    ),
)

IN_LIMITS = (*LIMITS, *AGES, *UPKEEP, *DISK)
