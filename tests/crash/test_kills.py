"""kill -9 at random instants: what was acknowledged is there once, in order, and no cursor goes back."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.crash.kills import Ledger
from tests.kit.daemon import ROOT


async def test_kills_at_random_instants_lose_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.kills", "--rounds", "12", "--seed", "7", "--within", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode(errors="replace")[-4000:]


def start(records: list[tuple[int, int, bool]], **facts: object) -> str:
    plain = {"start": 0, "records": records, "cursors": {}, "mark": 9, "damaged": 0, "dropped": 0}
    return "FOUND " + json.dumps(plain | facts)


BEFORE = ("TRY 3", "ACK 0 1 3", "GOT cloud [[0, 1]]", "WILL cloud 1", "LOW cloud 1")
WHOLE = [(0, 1, True), (1, 2, True), (2, 3, True)]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (start(WHOLE[:2]), "acknowledged and not there"),
        (start([(0, 1, True), (1, 3, True)]), "acknowledged and not there"),
        (start([*WHOLE, (3, 3, True)]), "twice"),
        (start([*WHOLE, (3, 4, True)]), "nobody appended"),
        (start([(0, 1, True), (1, 2, False), (2, 3, True)]), "other bytes"),
        (start(WHOLE[1:], start=1), "begins at 1"),
        (start(WHOLE, cursors={"cloud": 0}), "went back"),
        (start(WHOLE, cursors={"cloud": 2}), "beyond"),
        (start(WHOLE, mark=2), "mark went back"),
        (start(WHOLE, damaged=1), "false alarm"),
        (start(WHOLE, dropped=1), "before that was durable"),
        ("GOT cloud [[0, 1]]", "again within one run"),
        ("GOT cloud [[1, 3]]", "something else"),
        ("GOT cloud [[2, 3], [1, 2]]", "out of order"),
    ],
)
def test_every_broken_promise_is_noticed(line: str, why: str) -> None:
    ledger = Ledger()
    for before in BEFORE:
        ledger.take(before)
    with pytest.raises(AssertionError, match=why):
        ledger.take(line)


def test_a_kept_promise_is_no_alarm() -> None:
    ledger = Ledger()
    for line in (*BEFORE, start(WHOLE, cursors={"cloud": 1}), "GOT cloud [[1, 2], [2, 3]]", "CLOSED"):
        ledger.take(line)
    assert (ledger.starts, ledger.delivered, ledger.closed) == (1, 3, 1)
