"""The few places where this proof looks inside of the spool; all else goes through its public face."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest import mock

import bridge.spool.spool
from bridge.clock import SystemClock
from bridge.ports import Lane
from bridge.spool.files import Files
from bridge.spool.log import Log
from bridge.spool.retention import Retention
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool

P = ParamSpec("P")
R = TypeVar("R")


def new_spool(path: Path, settings: SpoolSettings, files: Files | None = None) -> Spool:
    """The spool at a path."""
    return Spool(path, settings, SystemClock(), files)


def lane_of(spool: Spool) -> Lane:
    """The lane of readings."""
    return spool.lane


def start_of(lane: Lane) -> int:
    """The offset at which what can be read begins."""
    assert isinstance(lane, Log)
    return max(lane._shelf.first, lane._book.start)


def low_of(lane: Lane, name: str) -> int:
    """Every offset below is settled for that cursor; 0 when nothing is known of it."""
    assert isinstance(lane, Log)
    ledger = lane._book.ledgers.get(name)
    return ledger.low if ledger is not None else 0


def durable_low_of(lane: Lane, name: str) -> int:
    """Every offset below is settled for that cursor, and that is on the disk."""
    assert isinstance(lane, Log)
    return lane._book.ledgers[name].durable_low


def announce_drops(tell: Callable[[int], None]) -> None:
    """Before a limit takes segments, ``tell`` gets the offset up to which it may."""
    drop_oldest = Retention.drop_oldest

    def announced(self: Retention, reason: str, *, force: bool = True) -> bool:
        if len(self._shelf.segments) > 1:
            tell(self._shelf.segments[1].first)
        return drop_oldest(self, reason, force=force)

    Retention.drop_oldest = announced  # type: ignore[method-assign]


class _Inline:
    """An executor that does its work where it is asked: nothing to start, nothing to wait for."""

    def __init__(self, max_workers: int | None = None, thread_name_prefix: str = "") -> None:
        pass

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[R]":
        # A future of the loop itself: one of the other kind would wake the loop through a socket.
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an executor hands on whatever is raised
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        pass


@contextmanager
def without_threads() -> Iterator[None]:
    """The spool works in the thread of the loop, which is faster by far when nothing waits for a disk."""
    with mock.patch.object(bridge.spool.spool, "ThreadPoolExecutor", _Inline):
        yield
