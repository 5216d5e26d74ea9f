"""Topic filters with names: MQTT 5.0 §4.7."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sources.topic_filters import TopicFilter, filters_that_match, overlap


@pytest.mark.parametrize(
    ("text", "subscription", "names"),
    [
        ("site/{site}/{device}/+", "site/+/+/+", ("site", "device")),
        ("a/#", "a/#", ()),
        ("{line}/#", "+/#", ("line",)),
        ("/plain", "/plain", ()),
    ],
)
def test_names_become_wildcards(text: str, subscription: str, names: tuple[str, ...]) -> None:
    one = TopicFilter.parse(text)
    assert (one.subscription, one.names) == (subscription, names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a/#/b", "only at the end"),
        ("a/b#", "plain text"),
        ("a/b+/c", "plain text"),
        ("a/x{b}", "plain text"),
        ("a/{b c}", "plain text"),
        ("{a}/{a}", "twice"),
        ("a/{topic}", "choose another name"),
        ("$share/g/a", "shared"),
        ("a\0b", "NUL"),
        ("a" * 65536, "65,535"),
    ],
)
def test_an_illegal_filter_is_refused_with_the_rule(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TopicFilter.parse(text)


@pytest.mark.parametrize(
    ("text", "topic", "captures"),
    [
        ("site/{site}/{device}/+", "site/nord/pump 1/t", {"site": "nord", "device": "pump 1"}),
        ("site/{site}/{device}/+", "site/nord/pump/t/x", None),
        ("site/{site}", "site/", {"site": ""}),
        ("a/#", "a", {}),
        ("a/#", "a/b/c", {}),
        ("a/#", "ab", None),
        ("#", "a/b", {}),
        ("#", "$SYS/x", None),
        ("+/x", "$SYS/x", None),
        ("$SYS/#", "$SYS/x", {}),
        ("a.c", "abc", None),
        ("a/+", "a/new\nline", {}),
    ],
)
def test_a_filter_matches_and_captures(text: str, topic: str, captures: dict[str, str] | None) -> None:
    expected = None if captures is None else {**captures, "topic": topic}
    assert TopicFilter.parse(text).match(topic) == expected


levels = st.sampled_from(["a", "b", "+", ""])
filters = st.lists(levels, min_size=1, max_size=5).map("/".join) | st.lists(levels, max_size=4).map(
    lambda parts: "/".join([*parts, "#"])
)


@given(filters.filter(bool), st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=5).map("/".join))
def test_every_filter_that_matches_a_topic_is_guessed(text: str, topic: str) -> None:
    matches = TopicFilter.parse(text).match(topic) is not None
    assert (text in set(filters_that_match(topic))) == matches


def test_the_number_of_guesses_is_bounded() -> None:
    assert len(set(filters_that_match("a/b/c/d"))) == 47
    assert len(list(filters_that_match("/".join("abcdefgh")))) == 767
    assert list(filters_that_match("/".join("abcdefghi"))) == []


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "+/b/c", True),
        ("a/+", "a/b/c", False),
        ("a/b", "a/c", False),
        ("+/x", "$SYS/x", False),
        ("#", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("#", "+", True),
    ],
)
def test_filters_that_match_the_same_topic_overlap(one: str, other: str, both: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == both


legal = filters.filter(bool)


@given(legal, legal, st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=5).map("/".join))
def test_no_topic_is_matched_by_two_filters_that_do_not_overlap(one: str, other: str, topic: str) -> None:
    if TopicFilter.parse(one).match(topic) and TopicFilter.parse(other).match(topic):
        assert overlap(one, other)


def test_an_identifier_is_the_same_for_the_same_subscription_only() -> None:
    one, same, other = (TopicFilter.parse(text) for text in ("a/{x}", "a/+", "a/#"))
    assert one.identifier == same.identifier != other.identifier
    assert 1 <= one.identifier <= 268_435_455
