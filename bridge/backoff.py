"""Delays between tries: exponential with full jitter, capped, without an end.

Full jitter (a uniform draw below the ceiling) keeps five hundred gateways that lost the same broker from
coming back in the same second.
"""

import random
from collections.abc import Callable, Iterator


def delays(
    first: float = 0.5,
    cap: float = 30.0,
    *,
    draw: Callable[[float, float], float] = random.uniform,
) -> Iterator[float]:
    """Endless delays in seconds, each drawn between zero and a ceiling that doubles from ``first`` to ``cap``.

    The draw never goes below a tenth of the ceiling: a refused connection must not become a busy loop.
    """
    ceiling = first
    while True:
        yield draw(ceiling / 10, ceiling)
        ceiling = min(cap, ceiling * 2)
