"""``edge-bridge run``: the daemon."""

import argparse
import asyncio
import contextlib
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from bridge.assemble import assemble, desk
from bridge.cli.check import examine
from bridge.config.model import Config
from bridge.errors import ConfigError
from bridge.host import control, journal, systemd
from bridge.run.bridge import Bridge
from bridge.upkeep.table import UPLOADING, streams_of

log = logging.getLogger(__name__)

COMMAND_THREADS = 2
"""Commands that read the disk at the same time."""

STATUS_EVERY = 10.0
"""Seconds between two updates of systemd's status line."""


def command(args: argparse.Namespace) -> int:
    """Runs the bridge until SIGTERM or SIGINT; returns the exit code 0 after an orderly stop.

    Raises:
        ConfigError: ``edge-bridge check`` finds a mistake; its warnings are only logged.
    """
    # Until the loop listens: a terminal that goes away, or a reload that comes too early, must not end us.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    findings = examine(args.config)
    if findings.config is None or findings.errors:
        raise ConfigError(findings.errors)
    config = findings.config
    with journal.configure(args.log_level or config.bridge.log_level):
        for warning in findings.warnings:
            log.warning("configuration: %s", warning)
        asyncio.run(_serve(config))
    return 0


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    _listen_for_signals(stop)
    notifier = systemd.Notifier()
    bridge = assemble(config)

    async with contextlib.AsyncExitStack() as late:

        def ready() -> None:
            notifier.ready(bridge.summary())
            speaking = _speak(bridge, notifier, stop, config.spool.stall_timeout)
            late.push_async_callback(_cancel, asyncio.create_task(speaking))
            late.push_async_callback(_cancel, asyncio.create_task(_answer(config, bridge)))

        await bridge.run(stop, ready)


async def _answer(config: Config, bridge: Bridge) -> None:
    async def status() -> object:
        return asdict(await bridge.report())

    threads = ThreadPoolExecutor(COMMAND_THREADS, "command")
    try:
        streams = streams_of(desk(config, bridge, threads, paced=True))
        async with control.ControlSocket(config.control_socket, {"status": status}, streams, UPLOADING):
            await asyncio.Event().wait()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


async def _speak(bridge: Bridge, notifier: systemd.Notifier, stop: asyncio.Event, patience: float) -> None:
    """Feeds systemd's watchdog and its status line as long as the loop lives and the disk answers.

    A disk that has not answered for ``patience`` seconds (0: for ever) is reported by not feeding the watchdog.
    """

    def alive() -> None:
        if not patience or bridge.stalled() < patience:
            notifier.watchdog()

    watchdog = systemd.watchdog_interval()
    pause = min(STATUS_EVERY, watchdog / 2 if watchdog else STATUS_EVERY)
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
            notifier.stopping()
            break
        alive()
        notifier.status(bridge.summary())
    while True:
        await asyncio.sleep(pause)
        alive()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _listen_for_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    asked = (signal.SIGTERM, signal.SIGINT)

    def stop_once() -> None:
        # Whoever asks a second time does not want to wait: that signal ends the process, which is safe.
        stop.set()
        for number in asked:
            loop.remove_signal_handler(number)

    for number in asked:
        loop.add_signal_handler(number, stop_once)
    loop.add_signal_handler(
        signal.SIGHUP, log.warning, "SIGHUP: the configuration is read at start only; restart to apply a change"
    )
