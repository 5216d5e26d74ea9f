"""Every verb of the command line is known to both ends, and verbs that only look never need the lock."""

from pathlib import Path

import pytest

from bridge.cli.main import COMMANDS
from bridge.upkeep.table import CHANGING, READING, UPLOADING, VERBS, streams_of
from tests.kit.desk import desk_at, looking, pieces, record


def test_the_command_line_and_the_table_know_the_same_verbs() -> None:
    declared = {f"{name} {verb}" for name in ("queue", "dead-letters") for verb in COMMANDS[name].verbs}
    assert declared == set(VERBS)
    assert set(UPLOADING) <= set(CHANGING)


@pytest.mark.parametrize("verb", sorted(READING))
async def test_a_verb_that_looks_needs_no_owner(tmp_path: Path, verb: str) -> None:
    async with desk_at(tmp_path) as desk:
        await desk.open_spool.lane.append([record(1)])
        async with looking(tmp_path) as onlooker:
            lines = [line async for line in streams_of(onlooker)[verb]({"offsets": [0]}, pieces([]))]
    assert lines[-1].startswith(b'{"answer":')
