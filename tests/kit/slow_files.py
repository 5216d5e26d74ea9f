"""Files that take their time: a call may be under way while others go on."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from bridge.spool.files import Files


class SlowFiles:
    """Passes every call on, after the seconds that ``delays`` has for it.

    Attributes:
        delays: seconds by the name of the call; the calls of several threads wait side by side.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.delays: dict[str, float] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._late, name, getattr(self._files, name))

    def _late(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        delay = self.delays.get(name)
        if delay:
            time.sleep(delay)
        return call(*arguments)

    @property
    def port(self) -> Files:
        """Itself as the port that it is."""
        return cast("Files", self)
