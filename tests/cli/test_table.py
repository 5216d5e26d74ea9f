"""How commands are declared: numbers as people write them, and every declared module has its function."""

import importlib

import pytest

from bridge.cli.main import COMMANDS
from bridge.cli.table import Verb, whole


def test_numbers_are_taken_as_they_are_shown() -> None:
    assert (whole("12,345"), whole("0"), whole("7")) == (12_345, 0, 7)
    for wrong in ("-1", "x", "1.5", ""):
        with pytest.raises(ValueError, match=r".+"):
            whole(wrong)


def leaves(verb: Verb) -> list[Verb]:
    return [leaf for inner in verb.verbs.values() for leaf in leaves(inner)] if verb.verbs else [verb]


@pytest.mark.parametrize(
    "verb", [leaf for verb in COMMANDS.values() for leaf in leaves(verb)], ids=lambda v: v.module
)
def test_every_declared_command_exists(verb: Verb) -> None:
    assert callable(importlib.import_module(verb.module).command)
