"""Dead letters are listed, shown whole, exported and dropped: exactly those that are meant."""

import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import CommandFailed
from bridge.upkeep.desk import Desk
from bridge.upkeep.lines import member
from bridge.wire.json_lines import decode_line
from tests.kit.desk import desk_at, event, everything, looking, refused, said, undecoded


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as opened:
        await opened.open_spool.dead_letters.append(
            [
                refused(0),
                undecoded(b"\x00\xffgarbage", captures={"port": "/dev/x"}, contenttype="a/b"),
                refused(2, component="sink archive"),
                b"no letter",
                undecoded(b"more"),
            ]
        )
        yield opened


async def open_ones(desk: Desk, **args: Any) -> list[int]:
    items, _ = await said(desk, "dead-letters list", **args)
    return [item["offset"] for item in items]


async def test_the_list_can_be_narrowed(desk: Desk) -> None:
    assert await open_ones(desk) == [0, 1, 2, 3, 4]
    assert await open_ones(desk, source="scale") == [1, 4]
    assert await open_ones(desk, sink="archive") == [2]
    assert await open_ones(desk, sink="nobody") == []
    _, answer = await said(desk, "dead-letters list", count=2)
    assert answer == {"shown": 2, "matching": 5, "open": 5}


async def test_a_letter_is_shown_whole(desk: Desk) -> None:
    items, answer, _ = await everything(desk, "dead-letters show", offsets=[0, 1, 3, 77])
    assert decode_line(member(items[0].raw, "event")) == event(0)
    frame = json.loads(items[1].raw)
    assert b64decode(frame["frame_base64"]) == b"\x00\xffgarbage"
    assert (frame["captures"], frame["contenttype"], frame["bytes"]) == ({"port": "/dev/x"}, "a/b", 9)
    assert (frame["reason"], frame["component"], frame["tries"]) == ("no", "source scale", 3)
    assert (frame["first"], frame["last"]) == ("2023-11-14T22:13:20.000000Z", "2023-11-14T22:13:21.000000Z")
    assert "no dead letter" in json.loads(items[2].raw)["error"]
    assert answer == {"missing": [77]}


async def test_an_export_holds_what_show_shows(desk: Desk) -> None:
    shown, _, _ = await everything(desk, "dead-letters show", offsets=[0, 1, 2, 3, 4])
    exported, answer, _ = await everything(desk, "dead-letters export")
    assert exported == shown
    assert answer == {"exported": 5}
    assert len((await everything(desk, "dead-letters export", source="scale"))[0]) == 2


async def test_what_is_dropped_is_gone_for_ever_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="say which"):
        await said(desk, "dead-letters drop")
    assert (await said(desk, "dead-letters drop", offsets=[1, 3], only_tell=True))[1] == {"letters": 2}
    assert (await said(desk, "dead-letters drop", offsets=[1, 3]))[1] == {"letters": 2}
    async with looking(tmp_path) as onlooker:
        assert await open_ones(desk) == await open_ones(onlooker) == [0, 2, 4]
    assert (await said(desk, "dead-letters drop", sink="cloud"))[1] == {"letters": 1}
    assert (await said(desk, "dead-letters drop", offsets=[1]))[1] == {"letters": 0}
    assert (await said(desk, "dead-letters drop", all=True))[1] == {"letters": 2}
    assert await open_ones(desk) == []
