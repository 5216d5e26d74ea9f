"""kill -9 at random instants over one spool that ages: ``python -m tests.crash.kills --rounds 1000``.

A child works on the spool and says what it promises; it is killed at a random instant, from the first moment of
its start on, and the next one says what it found. Nothing is closed in between, but for the few that were left
alone until they had enough.
"""

import argparse
import json
import logging
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

from tests.crash.history import CURSORS
from tests.crash.restless import live
from tests.kit.volume import MIB, Volume, alone, ext4


class Start(NamedTuple):
    """What a start found."""

    start: int
    records: list[list[int]]
    cursors: dict[str, int]
    mark: int
    damaged: int
    dropped: int


@dataclass
class Ledger:
    """Everything that was promised so far, kept outside of the spool.

    Attributes:
        acked: number of the payload at each offset.
        tried: no payload has a higher number.
        announced: whether the present life said that a limit may drop something.
    """

    acked: dict[int, int] = field(default_factory=dict)
    tried: int = 0
    low: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    high: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    read_to: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, -1))
    dropped: int = 0
    announced: bool = False
    starts: int = 0
    closed: int = 0
    delivered: int = 0

    def take(self, line: str) -> None:
        """Takes note of one line.

        Raises:
            AssertionError: it breaks an earlier promise.
        """
        match line.split(maxsplit=2):
            case ["FOUND", *_]:
                self._found(Start(**json.loads(line.removeprefix("FOUND "))))
            case ["TRY", number]:
                self.tried = int(number)
            case ["ACK", offset, rest]:
                first, last = map(int, rest.split())
                self.acked |= {int(offset) + at: number for at, number in enumerate(range(first, last + 1))}
            case ["GOT", name, pairs]:
                self._got(name, json.loads(pairs))
            case ["LOW", name, offset]:
                self.low[name] = max(self.low[name], int(offset))
            case ["WILL", name, offset]:
                self.high[name] = max(self.high[name], int(offset))
            case ["DROP", offset]:
                self.dropped = max(self.dropped, int(offset))
                self.announced = True
            case ["CLOSED"]:
                self.closed += 1
            case _:
                raise AssertionError(f"the child says: {line}")

    def _got(self, name: str, pairs: list[list[int]]) -> None:
        assert pairs[0][0] > self.read_to[name], f"{name} read {pairs[0][0]} again within one run"
        assert pairs[0][0] >= self.low[name], f"{name} read {pairs[0][0]}, which was durably settled"
        assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs)), f"{name} read out of order: {pairs}"
        wrong = [pair for pair in pairs if self.acked.get(pair[0], pair[1]) != pair[1]]
        assert not wrong, f"{name} read something else than was acknowledged there: {wrong}"
        self.read_to[name] = pairs[-1][0]
        self.delivered += len(pairs)

    def _found(self, found: Start) -> None:
        self.starts += 1
        self.read_to = dict.fromkeys(CURSORS, -1)
        there = {offset: number for offset, number, _ in found.records}
        assert all(good for _, _, good in found.records), "other bytes than were stored"
        assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(found.records)), "out of order, or twice"
        assert max(there.values(), default=0) <= self.tried, "a record that nobody appended"
        allowed = max(self.dropped, min(self.high.values()))
        assert found.start <= allowed, f"begins at {found.start}; nothing above {allowed} was to be deleted"
        self.acked = {offset: number for offset, number in self.acked.items() if offset >= found.start}
        lost = {offset: number for offset, number in self.acked.items() if there.get(offset) != number}
        assert not lost, f"acknowledged and not there (offset: number): {lost}"
        for name, low in found.cursors.items():
            assert low >= self.low[name], f"{name} went back from {self.low[name]} to {low}"
            limit = max(self.high[name], self.dropped, found.start)
            assert low <= limit, f"{name} is at {low}, beyond {limit}"
        assert found.mark >= max(self.acked.values(), default=0), "an acknowledged mark went back"
        assert found.damaged == 0, f"false alarm: {found.damaged} damaged"
        # Writing again what the kill left may already have had to make room.
        assert found.dropped == 0 or self.announced, f"{found.dropped} deleted before that was durable"


def one_life(path: Path, seed: int, seconds: float | None, take: Callable[[str], None]) -> bool:
    """A child over the spool, killed after ``seconds``; returns whether the kill found it alive.

    Forked, not executed: an interpreter takes longer to start than the child lives.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.closerange(3, 1024)
        _be_the_child(path, seed)
    os.close(writing)
    buffer = b""
    deadline = None if seconds is None else time.monotonic() + seconds
    killed = False
    while True:
        left = None if deadline is None or killed else max(0.0, deadline - time.monotonic())
        if not select.select([reading], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            killed = True
            continue
        data = os.read(reading, 1 << 16)
        if not data:
            break
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            take(line.decode())
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "the child failed, see above"
    return False


def _be_the_child(path: Path, seed: int) -> NoReturn:
    code = 1
    try:
        live(path, seed)
        code = 0
    except BaseException:  # noqa: BLE001 - a child must never come back into its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def rounds(path: Path, count: int, seed: int) -> Ledger:
    """That many lives over one spool.

    Raises:
        AssertionError: a promise was broken; the spool lies there as it was found.
    """
    ledger = Ledger()
    rng = random.Random(seed)
    kills = 0
    for number in range(count):
        seconds = None if rng.random() < 0.03 else rng.choice((0.02, 0.1, 0.4)) * rng.random()
        ledger.announced = False
        try:
            kills += one_life(path, rng.getrandbits(32), seconds, ledger.take)
        except AssertionError as error:
            raise AssertionError(f"round {number}: {error}") from error
        if number % 100 == 99:
            print(f"{number + 1} rounds, {kills} killed, {_facts(ledger)}", flush=True)
    ledger.announced = False
    one_life(path, 0, None, ledger.take)
    print(f"{count} rounds, {kills} killed, {_facts(ledger)}")
    return ledger


def _facts(ledger: Ledger) -> str:
    return (
        f"{ledger.starts} starts reported, {ledger.closed} closed in order, {ledger.tried} records appended, "
        f"{ledger.delivered} delivered, {ledger.dropped} below the limit's edge"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="how many kills")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the instants still differ")
    parser.add_argument("--within", type=Path, help="where to work; without it, root takes an ext4 of its own")
    parser.add_argument("--alone", action="store_true", help="the mount namespace is a private one already")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    path = Path(tempfile.mkdtemp(prefix="kills-", dir=arguments.within))
    own = arguments.within is None and os.geteuid() == 0
    if own and not arguments.alone:
        path.rmdir()
        command = alone([sys.executable, "-m", "tests.crash.kills", *sys.argv[1:], "--alone"])
        os.execvp(command[0], command)
    with ext4(path / "volume", 64 * MIB) if own else nullcontext(Volume(path)) as volume:
        try:
            rounds(volume.path / "spool", arguments.rounds, arguments.seed)
        except AssertionError as error:
            shutil.copytree(volume.path / "spool", path / "found")
            print(f"seed {arguments.seed}: {error}\nA copy of the spool is in {path}.", file=sys.stderr)
            return 1
    shutil.rmtree(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
