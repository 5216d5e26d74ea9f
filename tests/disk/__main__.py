"""One scenario on a file system of its own: ``python -m tests.disk read_only --on tmpfs --mib 4 --turns 3``."""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

from tests.disk import wear, with_daemon, with_spool
from tests.kit.volume import MIB, Volume, alone, ext4, tmpfs

Scenario = Callable[[Volume, int], Coroutine[None, None, str]]

SCENARIOS: dict[str, Scenario] = {
    "fill_and_drain": with_spool.fill_and_drain,
    "foreign_file": with_spool.foreign_file,
    "read_only": with_spool.read_only,
    "broken": with_spool.broken,
    "hanging": with_spool.hanging,
    "daemon_full": with_daemon.full,
    "daemon_foreign_file": with_daemon.foreign_file,
    "daemon_read_only": with_daemon.read_only,
    "daemon_broken": with_daemon.broken,
    "wear": wear.on_volume,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.disk", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--on", choices=("tmpfs", "ext4"), default="tmpfs", help="ext4 needs root")
    parser.add_argument("--mib", type=int, default=4, help="size of the file system")
    parser.add_argument("--turns", type=int, default=3, help="how often")
    parser.add_argument("--alone", action="store_true", help="the mount namespace is a private one already")
    arguments = parser.parse_args()
    if not arguments.alone:
        command = alone([sys.executable, "-m", "tests.disk", *sys.argv[1:], "--alone"])
        os.execvp(command[0], command)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    make = ext4 if arguments.on == "ext4" else tmpfs
    folder = tempfile.TemporaryDirectory(prefix="disk-")
    with folder as path, make(Path(path) / "volume", arguments.mib * MIB) as volume:
        print(asyncio.run(SCENARIOS[arguments.scenario](volume, arguments.turns)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
