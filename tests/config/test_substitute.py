"""References to the environment are resolved in text, once, and nowhere else."""

import pytest

from bridge.config.substitute import Substitution


def test_every_text_is_filled_and_nothing_else() -> None:
    tree: dict[str, object] = {"a": "${X}-${Y}", "b": [1, "${X}", {"c": "${X}"}], "${X}": True}
    substitution = Substitution({"X": "x", "Y": "${X}"})
    assert substitution.tree(tree) == {"a": "x-${X}", "b": [1, "x", {"c": "x"}], "${X}": True}
    assert tree["a"] == "${X}-${Y}"
    assert not substitution.problems


@pytest.mark.parametrize(
    ("text", "result"),
    [("$$", "$"), ("$${X}", "${X}"), ("$SYS/#", "$SYS/#"), ("a$", "a$"), ("$$$$", "$$"), ("{x}", "{x}")],
)
def test_a_dollar_is_itself(text: str, result: str) -> None:
    assert Substitution({"X": "x"}).tree({"a": text}) == {"a": result}


@pytest.mark.parametrize("text", ["${X", "${}", "${X-Y}", "${1}", "${NOT_SET}"])
def test_what_cannot_be_resolved_is_a_mistake_with_its_path(text: str) -> None:
    substitution = Substitution({"X": "x"})
    substitution.tree({"a": {"b": ["fine", text]}})
    (problem,) = substitution.problems
    assert problem.path == "a.b[1]"


def test_what_was_filled_in_is_hidden_from_messages() -> None:
    substitution = Substitution({"X": "hunter2", "Y": "never used"})
    substitution.tree({"a": "${X}"})
    assert substitution.hide("'hunter2' is no port, never used") == "'${X}' is no port, never used"
