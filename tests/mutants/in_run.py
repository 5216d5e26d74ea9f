"""Faults in the guarantees of intake and delivery."""

from tests.mutants.mutant import Mutant

_DELIVERY = "bridge/run/delivery.py"
_INTAKE = "bridge/run/intake.py"

IN_RUN = (
    Mutant(
        "intake returns before its events are durable",
        _INTAKE,
        "await self._lane.append(payloads, self._marks)",
        "self._burials.add(asyncio.ensure_future(self._lane.append(payloads, self._marks)))",
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
        "await self._lane.append(payloads, self._marks)",
        "await self._lane.append(payloads)",
        ["tests/run/test_intake.py"],
    ),
    Mutant(
        "dead letter written after the cursor moved",
        _DELIVERY,
        "await self._bury(rejected)",
        "self._burial = asyncio.ensure_future(self._bury(rejected))",
        ["tests/run/test_delivery.py"],
    ),
    Mutant(
        "unreadable record settled before its dead letter is durable",
        _DELIVERY,
        "await self._keep_dead([letter for _, letter in broken])",
        "self._burial = asyncio.ensure_future(self._keep_dead([letter for _, letter in broken]))",
        ["tests/run/test_delivery.py"],
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
