"""Makes a trace of what programs do to one directory, one run after the other."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.crash import strace
from tests.crash.following import Follower
from tests.crash.states import CrashStates
from tests.crash.strace import Call
from tests.crash.trace import Trace, tree_of

Listener = Callable[[Call], None]


class Recorder:
    """Collects the logs of runs over the directory ``top``, which is taken as it is at the beginning.

    Args:
        listener: is shown every call, too.
    """

    def __init__(self, top: Path, listener: Listener | None = None) -> None:
        self.trace = Trace()
        self.trace.load(top)
        self._top = top
        self._listener = listener
        self._follower = Follower(self.trace, top)
        self._lines = 0

    @property
    def now(self) -> int:
        """The position behind everything so far."""
        return 2 * self._lines

    def take(self, log: Path) -> None:
        """The log of a run that has just ended; nothing has touched the directory since."""
        self._follower.new_process()
        for call in strace.calls_of(log, self._lines, self.trace.not_understood):
            self._follower.take(call)
            if self._listener is not None:
                self._listener(call)
        self._lines += strace.length_of(log)

    def finish(self) -> Trace:
        """The whole trace.

        Raises:
            AssertionError: it does not reproduce what lies in the directory, byte for byte.
        """
        self.trace.in_order()
        assert not self.trace.not_understood, self.trace.not_understood[:3]
        replayed, found = CrashStates(self.trace, "killed").everything().tree(), tree_of(self._top)
        assert replayed.keys() == found.keys(), sorted(replayed.keys() ^ found.keys())
        assert [name for name in found if replayed[name] != found[name]] == []
        return self.trace


def record(command: Sequence[str], top: Path, scratch: Path, inject: Sequence[str] = ()) -> Trace:
    """Runs ``command``, which works in ``top``, and returns what it did there; what it prints are promises.

    Args:
        scratch: an empty directory for the log.
        inject: faults in the words of ``strace --inject``.
    """
    recorder = Recorder(top)
    log = scratch / "strace.log"
    traced = strace.command(log, strace.FILE_CALLS, command, inject)
    with (scratch / "output").open("wb") as output, (scratch / "journal").open("wb") as journal:
        subprocess.run(traced, stdout=output, stderr=journal, check=True, timeout=120)
    recorder.take(log)
    return recorder.finish()
