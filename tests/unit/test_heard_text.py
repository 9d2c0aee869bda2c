"""What a node writes by hand of what was heard of its calls is told once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.application.heard_calls import CountedCall, HeardCall, HeardText


def told(heard: HeardText, *written: str) -> str:
    return "".join(map(heard.to_tell, written))


@pytest.mark.parametrize("written", [("a", "b", "c"), ("ab", "c"), ("abc",), ("a", "bc")])
def test_what_was_heard_is_not_told_again_however_it_is_written(written: tuple[str, ...]) -> None:
    heard = HeardText()
    call = heard.begin()
    for piece in "abc":
        call(piece)
    assert told(heard, *written) == ""


def test_writing_may_follow_each_piece_that_is_heard() -> None:
    heard = HeardText()
    call = heard.begin()
    for piece in "abc":
        call(piece)
        assert heard.to_tell(piece) == ""


def test_what_is_a_nodes_own_is_told() -> None:
    heard = HeardText()
    assert heard.to_tell("Hello. ") == "Hello. "
    heard.begin()("answer")
    assert told(heard, "Look: ", "answer", "\n\n") == "Look: \n\n"


def test_what_goes_on_beyond_what_was_heard_is_told_from_there() -> None:
    heard = HeardText()
    heard.begin()("answer")
    assert heard.to_tell("answer\n\n") == "\n\n"


def test_a_node_may_leave_a_call_out() -> None:
    heard = HeardText()
    heard.begin()("notes")
    heard.begin()("answer")
    assert told(heard, "an", "swer") == ""


def test_two_calls_may_be_written_as_one() -> None:
    heard = HeardText()
    heard.begin()("one")
    heard.begin()("two")
    assert heard.to_tell("onetwo!") == "!"


def test_calls_side_by_side_are_written_as_they_come() -> None:
    heard = HeardText()
    first, second = heard.begin(), heard.begin()
    first("a")
    second("x")
    assert told(heard, "a", "x") == ""
    first("b")
    second("y")
    assert told(heard, "y", "b") == ""


LONG = "Rain in Paju until noon, then clouds."


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("answer", ["ANSWER"]),
        ("**an** swer", ["an", "SWER"]),
        ("answer", ["Answer, too"]),
        (LONG, [f"<p>{LONG}</p>"]),
        (LONG, [LONG.replace("noon", "twelve")]),
        ("STRASSE", ["straße"]),
    ],
)
def test_a_text_in_another_form_is_not_told_again(said: str, written: list[str]) -> None:
    heard = HeardText()
    heard.begin()(said)
    assert told(heard, *written) == ""


def test_what_was_rewritten_is_over_and_the_next_call_is_written_as_it_is() -> None:
    heard = HeardText()
    heard.begin()("one. ")
    heard.begin()("two")
    assert told(heard, "ONE", "two", "!") == "!"


@pytest.mark.parametrize("own", ["Source: a", "\n\n", "[1]", "Machines answer it", LONG[::-1]])
def test_other_words_are_a_nodes_own(own: str) -> None:
    heard = HeardText()
    heard.begin()("answer")
    assert heard.to_tell(own) == own
    heard.begin()(LONG)
    assert heard.to_tell(own) == own


@given(st.lists(st.text("abc", min_size=1), max_size=5), st.data())
def test_a_whole_answer_is_swallowed_wherever_it_is_cut(
    pieces: list[str], data: st.DataObject
) -> None:
    heard = HeardText()
    call = heard.begin()
    for piece in pieces:
        call(piece)
    text = "".join(pieces)
    cut = data.draw(st.integers(0, len(text)))
    assert told(heard, text[:cut], text[cut:]) == ""


def test_two_calls_may_be_written_as_one_in_another_form() -> None:
    heard = HeardText()
    heard.begin()("one, ")
    heard.begin()("two")
    assert told(heard, "ONE TWO!") == ""
    assert told(heard, "two") == "two"  # and once


LETTERS = "abcdefghijklmnopqrst"


@pytest.mark.parametrize(
    ("text", "written", "swallowed"),
    [
        ("one", "ONE two", True),  # half of it was heard
        ("one", "ONE twos", False),
        (LETTERS[:16], f"{LETTERS[:15]}0", True),
        (LETTERS[:15], f"{LETTERS[:14]}0", False),  # too short to be compared
        (LETTERS, f"{LETTERS[:12]}01234567", True),  # three fifths are alike
        (LETTERS, f"{LETTERS[:11]}012345678", False),
        ("Look, a quick fox. " * 20, f"See: {'look a quick FOX ' * 20}", True),
    ],
)
def test_what_is_alike_is_the_same_text_once_more(text: str, written: str, swallowed: bool) -> None:
    heard = HeardText()
    heard.begin()(text)
    assert heard.to_tell(written) == ("" if swallowed else written)


@pytest.mark.parametrize("kind", [CountedCall, lambda _, end: HeardCall(None, print, end=end)])
def test_whoever_counts_elsewhere_is_told_the_reason_of_the_end(kind: Any) -> None:
    ends: list[str | None] = []
    kind(None, end=ends.append).ended(None, "length")
    assert ends == ["length"]
