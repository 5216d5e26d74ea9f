"""Accounting of confirms: every order of acks, nacks and returns a broker may choose."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.sinks.amqp_confirms import Confirms

answers = st.lists(
    st.tuples(st.integers(0, 40), st.booleans(), st.booleans(), st.booleans()),
    max_size=40,
)


@given(st.integers(0, 10), st.integers(1, 30), answers)
def test_it_says_what_a_dictionary_of_tags_would_say(
    last_tag: int, count: int, said: list[tuple[int, bool, bool, bool]]
) -> None:
    confirms = Confirms(last_tag)
    indices = [3 * number for number in range(count)]
    confirms.sent(indices[: count // 2])
    confirms.sent(indices[count // 2 :])
    model = {last_tag + 1 + number: "open" for number in range(count)}
    returned = set()
    for tag, multiple, acked, comes_back in said:
        if comes_back and tag in model:
            index = indices[tag - last_tag - 1]
            confirms.came_back([index])
            returned.add(index)
        confirms.answer(tag, multiple=multiple, acked=acked)
        for one, state in model.items():
            if state == "open" and (one == tag or (multiple and (one <= tag or tag == 0))):
                model[one] = "acked" if acked else "nacked"
    by_state = {
        state: [indices[tag - last_tag - 1] for tag, now in model.items() if now == state]
        for state in ("open", "acked", "nacked")
    }
    assert confirms.open() == by_state["open"]
    assert confirms.outstanding == len(by_state["open"])
    assert confirms.answered == count - len(by_state["open"])
    assert confirms.refused() == by_state["nacked"]
    assert confirms.confirmed() == [index for index in by_state["acked"] if index not in returned]
    assert confirms.returned() == sorted(returned)
    assert confirms.last_tag == last_tag + count


def test_a_message_that_came_back_is_not_confirmed_by_the_ack_that_follows() -> None:
    confirms = Confirms(0)
    confirms.sent([0, 1, 2])
    confirms.came_back([1])
    confirms.answer(3, multiple=True, acked=True)
    assert confirms.confirmed() == [0, 2]
    assert confirms.outstanding == 0


def test_answers_to_an_earlier_batch_change_nothing() -> None:
    confirms = Confirms(100)
    confirms.sent([0, 1])
    confirms.answer(100, multiple=True, acked=True)
    confirms.answer(7, multiple=False, acked=False)
    confirms.answer(103, multiple=False, acked=True)
    assert confirms.open() == [0, 1]


def test_a_thousand_outstanding_in_any_order() -> None:
    confirms = Confirms(0)
    confirms.sent(list(range(1000)))
    for tag in range(1000, 0, -2):
        confirms.answer(tag, multiple=False, acked=True)
    confirms.answer(999, multiple=True, acked=False)
    assert confirms.confirmed() == list(range(1, 1000, 2))
    assert confirms.refused() == list(range(0, 1000, 2))
