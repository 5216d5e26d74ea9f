"""How long the tests with random histories run: seconds in every run, far longer when somebody asks for it."""

import os

TIMES = int(os.environ.get("THOROUGH", "1"))
"""Set by the targets for long runs."""


def examples(normal: int) -> int:
    """So many examples, or as many times that as was asked for."""
    return normal * TIMES
