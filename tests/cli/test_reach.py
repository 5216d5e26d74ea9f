"""Who carries a command out: the running bridge, or this process as the user whom the spool belongs to."""

import os
import pwd
from pathlib import Path

import pytest

from bridge.cli import reach
from bridge.cli.reach import ask, become_owner
from bridge.errors import BridgeError
from bridge.host.control import NotRunning


class Identity:
    """Stands in for the calls that change who the process is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, root: bool) -> None:
        self.calls: list[tuple[object, ...]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        for name in ("initgroups", "setgroups", "setgid", "setuid"):
            monkeypatch.setattr(os, name, lambda *args, name=name: self.calls.append((name, *args)))


class Owned:
    def __init__(self, uid: int, gid: int) -> None:
        self.st_uid, self.st_gid = uid, gid


def owned_by(monkeypatch: pytest.MonkeyPatch, path: Path, uid: int) -> None:
    original = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda self, **more: Owned(uid, 7) if self == path else original(self, **more)
    )


def test_root_goes_on_as_the_owner_of_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(monkeypatch, root=True)
    owned_by(monkeypatch, tmp_path, 65_432)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    become_owner(tmp_path / "not" / "made" / "yet")
    assert identity.calls == [("setgroups", []), ("setgid", 7), ("setuid", 65_432)]


def test_root_stays_root_where_the_spool_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(monkeypatch, root=True)
    owned_by(monkeypatch, tmp_path, 0)
    become_owner(tmp_path)
    assert identity.calls == []


def test_anybody_else_stays_who_he_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(monkeypatch, root=False)
    become_owner(tmp_path)
    assert identity.calls == []


def test_a_command_that_only_looks_never_takes_the_lock(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: object) -> None:
        raise AssertionError("nothing may be opened")

    monkeypatch.setattr(reach, "assemble", forbidden)
    shown: list[bytes] = []
    assert ask(letters, "dead-letters list", {}, shown.append)["open"] == 2
    assert len(shown) == 2


def test_an_answer_of_another_version_is_said(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "parse", lambda _: (_ for _ in ()).throw(ValueError("strange")))
    with pytest.raises(NotRunning, match=r"strange.*another version"):
        ask(letters, "dead-letters list", {}, lambda _: None)


def test_arguments_that_make_no_sense_are_said(letters: Path) -> None:
    with pytest.raises(BridgeError, match="whole numbers were expected"):
        ask(letters, "dead-letters show", {"offsets": ["x"]}, lambda _: None)
