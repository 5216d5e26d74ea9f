"""``edge-bridge demo``: the real daemon between a simulated device and a receiver, through an outage and a kill.

``device`` is the serial device, ``receiver`` the cloud, ``daemon`` the child process, ``story`` what happens to
them, ``screen`` what is shown of it.
"""

import argparse
import asyncio

from bridge.cli.demo.screen import screen_for_this_terminal
from bridge.cli.demo.story import Pace, perform


def command(args: argparse.Namespace) -> int:
    """Plays the demonstration; returns 0 when nothing is missing at the receiver, 70 otherwise.

    Raises:
        DemoFailed: the demonstration itself could not be played; the message says why.
        Interrupted: Ctrl-C or SIGTERM; nothing is left running.
    """
    return asyncio.run(perform(screen_for_this_terminal(), Pace()))
