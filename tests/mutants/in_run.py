"""Faults in the guarantees of intake, delivery and retry."""

from tests.mutants.mutant import Mutant

_DELIVERY = "bridge/run/delivery.py"
_FEED = "bridge/run/feed.py"
_INTAKE = "bridge/run/intake.py"
_RETRY = "bridge/upkeep/retry.py"

TAKING = (
    Mutant(
        "intake returns before its events are durable",
        _INTAKE,
        "await self._only.append(load.payloads, load.marks)",
        "self._begin(self._only.append(load.payloads, load.marks))",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "intake returns before every lane has its part",
        _INTAKE,
        "await asyncio.shield(task)",
        "task.cancelled()",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "intake returns before its dead letter is durable",
        _INTAKE,
        "await asyncio.shield(burial)",
        "burial.cancelled()",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "sequence numbers stored without their events",
        _INTAKE,
        "await self._only.append(load.payloads, load.marks)",
        "await self._only.append(load.payloads)",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "sequence numbers of several lanes stored without their events",
        _INTAKE,
        "self._begin(self._lanes[name].append(load.payloads, load.marks))",
        "self._begin(self._lanes[name].append(load.payloads))",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "refused readings not counted",
        _INTAKE,
        'self.lost(len(load.payloads), f"lane',
        'self.lost(0, f"lane',
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "refused readings acknowledged",
        _INTAKE,
        "return frozenset(load.frames)",
        "return frozenset()",
        ["tests/run/test_intake.py"],
    ),
)

DELIVERING = (
    Mutant(
        "dead letter written after the cursor moved",
        _DELIVERY,
        "await self._bury(rejected)",
        "self._burial = asyncio.ensure_future(self._bury(rejected))",
        ["tests/run/test_delivery.py"],
    ),
    Mutant(
        "unreadable record settled before its dead letter is durable",
        _FEED,
        "await self.bury(letters)",
        "self._burial = asyncio.ensure_future(self.bury(letters))",
        ["tests/run/test_feed.py"],
    ),
    Mutant(
        "what is too old settled without a count",
        _FEED,
        "self.expired += len(old)",
        "self.expired += 0",
        ["tests/run/test_feed.py"],
    ),
    Mutant(
        "everything settled after an outage",
        _DELIVERY,
        "await self._account(error.confirmed, error.rejected)",
        "await self._account(range(len(self._pending)), error.rejected)",
        ["tests/run/test_delivery.py"],
    ),
    Mutant(
        "settled before it is confirmed",
        _DELIVERY,
        "        self._tries += 1\n",
        "        self._tries += 1\n        self._cursor.settle([offset for offset, _ in self._pending])\n",
        ["tests/run/test_delivery.py"],
    ),
    Mutant(
        "batch forgotten with its connection",
        _DELIVERY,
        "if index not in error.confirmed and index not in error.rejected",
        "if index < 0",
        ["tests/run/test_delivery.py"],
    ),
)

RETRYING = (
    Mutant(
        "retried event given to every sink",
        _FEED,
        "stored.only is None or stored.only == self._sink",
        "True",
        ["tests/run/test_feed.py"],
    ),
    Mutant(
        "retried event stored for every sink",
        _RETRY,
        "only=sink",
        "only=None",
        ["tests/upkeep/test_retry.py"],
    ),
    Mutant(
        "dead letter settled before its retry is durable",
        _RETRY,
        "await lane.append([payload for _, payload in pairs])",
        "self._later = asyncio.ensure_future(lane.append([payload for _, payload in pairs]))",
        ["tests/upkeep/test_retry.py"],
    ),
    Mutant(
        "dead letter given up although a full lane refused it",
        _RETRY,
        "self._outcome.update((offset, str(error)) for offset, _ in pairs)",
        "pass",
        ["tests/upkeep/test_retry.py"],
    ),
    Mutant(
        "frame given up although a full lane refused its event",
        _INTAKE,
        'return "its lane is full" if await self._append(loads) else None',
        "return None if await self._append(loads) else None",
        ["tests/run/test_intake.py"],
    ),
)

IN_RUN = (*TAKING, *DELIVERING, *RETRYING)
