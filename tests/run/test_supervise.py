"""What the supervisor promises: restart what is away, never hide a bug, never write a line per retry."""

import asyncio
import logging

import pytest

from bridge.errors import Paused, PeerError, Unavailable
from bridge.run import supervise
from bridge.run.health import Health


class Sleeps:
    """Replaces the pauses between tries and remembers them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[float] = []
        self._really = asyncio.sleep
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        await self._really(0)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    return Sleeps(monkeypatch)


def health(backlog: int = 0) -> Health:
    return Health("sink cloud", "amqp://broker", consequence="events are kept", backlog=lambda: backlog)


class Script:
    """An attempt that fails as told, then stays up until cancelled."""

    def __init__(self, health: Health, *failures: BaseException, connect: bool = False) -> None:
        self.health, self.failures, self.connect = health, list(failures), connect
        self.up = asyncio.Event()

    async def __call__(self) -> None:
        if self.connect:
            self.health.connected()
        if self.failures:
            raise self.failures.pop(0)
        self.health.connected()
        self.up.set()
        await asyncio.Event().wait()


async def run_until_up(script: Script) -> None:
    task = asyncio.create_task(supervise.keep(script.health, script))
    await asyncio.wait_for(script.up.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_peer_that_is_away_is_tried_again_until_it_is_back(sleeps: Sleeps) -> None:
    state = health()
    await run_until_up(Script(state, *[Unavailable("refused")] * 12))
    assert state.state == "up"
    assert len(sleeps.taken) == 12


async def test_an_outage_is_one_line_and_its_end_another_whatever_the_retries(
    sleeps: Sleeps, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await run_until_up(Script(health(backlog=1234), *[Unavailable("connection refused")] * 40))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "connection refused" in caplog.messages[0]
    assert "events are kept" in caplog.messages[0]
    assert "1,234 events waiting" in caplog.messages[1]


async def test_a_peer_that_flaps_is_not_a_line_per_turn(sleeps: Sleeps, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run_until_up(Script(health(), *[Unavailable("reset")] * 40, connect=True))
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_something_to_mend_is_told_even_while_the_peer_is_down(
    sleeps: Sleeps, caplog: pytest.LogCaptureFixture
) -> None:
    await run_until_up(
        Script(health(), Unavailable("refused"), Paused("access refused"), Paused("access refused"))
    )
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "access refused" in caplog.messages[1]


async def test_the_peers_own_delay_is_honoured(sleeps: Sleeps) -> None:
    await run_until_up(Script(health(), Unavailable("busy", retry_after=77.0)))
    assert sleeps.taken == [77.0]


async def test_delays_grow_while_nothing_goes_through_and_stay_below_the_cap(sleeps: Sleeps) -> None:
    await run_until_up(Script(health(), *[Unavailable("refused")] * 30, connect=True))
    assert max(sleeps.taken) <= 30.0
    assert max(sleeps.taken[8:]) > max(sleeps.taken[:2])


async def test_after_progress_the_next_delay_is_short_again(sleeps: Sleeps) -> None:
    state = health()
    script = Script(state, *[Unavailable("refused")] * 20)
    await run_until_up(script)
    script.failures = [Unavailable("reset")]
    script.up.clear()
    state.progressed()
    await run_until_up(script)
    assert sleeps.taken[-1] <= 0.5


async def test_a_bug_is_not_retried(sleeps: Sleeps) -> None:
    with pytest.raises(ZeroDivisionError):
        await supervise.keep(health(), Script(health(), ZeroDivisionError()))
    assert sleeps.taken == []


async def test_a_worker_that_ends_unasked_is_a_failure(sleeps: Sleeps) -> None:
    async def end() -> None:
        return

    with pytest.raises(RuntimeError, match="sink cloud ended"):
        await supervise.keep(health(), end)


async def test_a_cancellation_that_nobody_asked_for_is_an_outage_not_an_end(sleeps: Sleeps) -> None:
    state = health()
    await run_until_up(Script(state, asyncio.CancelledError()))
    assert state.failures == 1
    assert state.state == "up"


@pytest.mark.parametrize("error", [Unavailable("a"), Paused("b")])
async def test_the_latest_error_stays_visible_in_the_status(error: PeerError) -> None:
    state = health()
    state.failed(error)
    state.connected()
    assert state.last_error == error.why
