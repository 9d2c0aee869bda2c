"""Node runs that speak side by side are heard one after the other, and nothing is lost."""

from sluice.domain.events import Data, Token
from sluice.infrastructure.pipeline.order import TokenOrder

A, B, C = "a:1", "b:2", "c:3"
INSIDE = "a:1|i:4"


def token(text: str, node: str = "n") -> Token:
    return Token(text, node)


def test_who_speaks_first_is_told_and_the_others_wait_in_the_order_they_came() -> None:
    order = TokenOrder()
    assert order.say(A, token("1"))
    assert not order.say(B, token("4", "b"))
    assert not order.say(C, token("6", "c"))
    assert not order.say(B, token("5", "b"))
    assert order.say(A, token("2"))
    assert (order.said, order.node) == (["1", "2"], "n")
    assert order.end(A) == [token("4", "b"), token("5", "b")]
    assert (order.said, order.node) == (["1", "2", "4", "5"], "b")
    assert order.say(B, token("7", "b"))
    assert order.end(B) == [token("6", "c")]
    assert order.end(C) == []
    assert order.node == "c"
    assert order.say(B, token("8"))


def test_what_runs_inside_does_not_wait_for_whom_it_is_inside() -> None:
    order = TokenOrder()
    assert order.say(A, token("1"))
    assert order.say(INSIDE, token("2"))
    assert not order.say(A, token("4"))
    assert order.end(INSIDE) == [token("4")]
    assert order.say(A, token("5"))
    assert order.said == ["1", "2", "4", "5"]


def test_the_end_of_a_run_is_that_of_all_inside_it() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.say(INSIDE, token("2"))
    order.say(B, token("3"))
    assert order.end(A) == [token("3")]


def test_runs_that_are_over_before_their_turn_are_told_when_it_comes() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.say(B, token("2"))
    order.say(C, token("3"))
    assert order.end(B) == []
    assert order.end(A) == [token("2"), token("3")]
    assert order.say(C, token("4"))
    assert not order.say(A, token("5"))


def test_the_end_of_who_never_spoke_lets_nobody_in() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.say(B, token("2"))
    assert order.end("d:9") == []
    assert not order.say(B, token("3"))


def test_what_outlives_its_run_is_told_but_holds_up_nobody() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.end(A)
    assert order.say(A, token("2"))
    assert order.say(B, token("3"))
    assert not order.say(A, token("4"))


def test_a_run_that_ends_without_a_word_has_no_turn_afterwards() -> None:
    order = TokenOrder()
    order.end(A)
    assert order.say(A, token("1"))
    assert order.say(B, token("2"))


def test_at_the_end_of_the_graph_everything_that_waits_is_told() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.say(B, token("2", "b"))
    order.say(C, token("3", "c"))
    assert order.finish() == [token("2", "b"), token("3", "c")]
    assert (order.said, order.node) == (["1", "2", "3"], "c")
    assert order.finish() == []
    assert order.node == "c"
    assert order.say(C, token("4"))
    assert order.say(B, token("5"))


def test_whoever_waits_outside_lets_those_pass_whose_turn_it_is() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.say(INSIDE, token("2"))
    order.say(B, token("4"))
    order.say(A, token("3"))
    assert order.end(INSIDE) == [token("3")]
    assert order.end(A) == [token("4")]


def test_where_nobody_has_spoken_there_is_no_node() -> None:
    assert (TokenOrder().node, TokenOrder().finish()) == ("", [])


def test_an_event_waits_behind_the_held_tokens_of_its_own_run_and_of_no_other() -> None:
    order, one, two = TokenOrder(), Data("n", 1, "b"), Data("n", 2, "b")
    assert not order.holds(B, one)
    order.say(A, token("1"))
    assert not order.holds(A, one)
    order.say(B, token("2", "b"))
    assert order.holds(B, one)
    assert not order.holds(C, two)
    order.say(B, token("3", "b"))
    assert order.holds(B, two)
    assert order.end(A) == [token("2", "b"), one, token("3", "b"), two]
    assert (order.said, order.node) == (["1", "2", "3"], "b")
    assert not order.holds(B, one)


def test_what_the_user_was_told_takes_the_place_of_what_was_said() -> None:
    order = TokenOrder()
    order.say(A, token("1"))
    order.recall([("2", "a"), ("3", "b")])
    assert (order.said, order.node) == (["2", "3"], "b")
    order.recall([])
    assert (order.said, order.node) == ([], "")


def test_who_listens_is_told_of_each_token_when_its_turn_has_come() -> None:
    told: list[tuple[str, str, str]] = []
    order = TokenOrder(lambda *one: told.append(one))
    order.say(A, token("1", "a"))
    order.say(B, token("2", "b"))
    assert told == [(A, "a", "1")]
    order.end(A)
    assert told == [(A, "a", "1"), (B, "b", "2")]
