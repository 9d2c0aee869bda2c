"""Readers that are behind: fewer frames, the same text, every id still a cursor."""

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.application.coalescing import coalesce, join, size_of, split, split_again
from sluice.domain.events import (
    BEGINNING,
    Cursor,
    Data,
    Done,
    Event,
    Failed,
    Reasoning,
    Recorded,
    StageStarted,
    Token,
)
from tests.strategies import LOG, recorded


def runs(log: Sequence[Recorded]) -> list[object]:
    """The log with each run of one node's tokens, or reasoning, in one attempt as one text."""
    told: list[object] = []
    for (kind, attempt, node), group in groupby(log, _kind):
        if kind is not None:
            told.append((kind, attempt, node, "".join(text(one) for one in group)))
        else:
            told += [(one.id, one.event) for one in group]
    return told


def _kind(one: Recorded) -> tuple[type | None, int, str]:
    if isinstance(one.event, Token | Reasoning):
        return type(one.event), one.id.attempt, one.event.node
    return None, one.id.attempt, ""


def text(one: Recorded) -> str:
    assert isinstance(one.event, Token | Reasoning)
    return one.event.content


@given(LOG)
def test_coalescing_keeps_the_text_the_order_the_nodes_the_attempts_and_every_other_event(
    log: list[Recorded],
) -> None:
    assert runs(coalesce(log)) == runs(log)


@given(LOG)
def test_coalesced_ids_are_ids_of_the_log_and_rise_to_its_last(log: list[Recorded]) -> None:
    ids = [one.id for one in coalesce(log)]
    assert ids == sorted(set(ids))
    assert set(ids) <= {one.id for one in log}
    assert ids[-1:] == [one.id for one in log[-1:]]


@given(LOG)
def test_coalesced_tokens_stay_within_64_kib(
    log: list[Recorded],
) -> None:
    for one in coalesce(log):
        if isinstance(one.event, Token | Reasoning):
            assert len(one.event.content.encode()) <= 64 * 1024


@given(LOG, st.data())
def test_a_cursor_from_a_coalesced_batch_goes_on_without_gap_or_repeat(
    log: list[Recorded], data: st.DataObject
) -> None:
    joined = coalesce(log)
    seen = data.draw(st.integers(0, len(joined)))
    last = joined[seen - 1].id if seen else BEGINNING
    rest = coalesce([one for one in log if one.id > last])
    assert runs([*joined[:seen], *rest]) == runs(log)


def test_waiting_tokens_of_one_node_become_one_under_the_last_id() -> None:
    log = recorded([(Token(piece, "answer"), False) for piece in "abc"])
    (one,) = coalesce(log)
    assert (one.id, one.event) == (Cursor(1, 3), Token("abc", "answer"))


def test_waiting_reasoning_is_joined_likewise_and_never_with_tokens() -> None:
    pieces: list[Event] = [Reasoning("a", "answer"), Reasoning("b", "answer"), Token("c", "answer")]
    log = recorded([(piece, False) for piece in pieces])
    assert [(one.id, one.event) for one in coalesce(log)] == [
        (Cursor(1, 2), Reasoning("ab", "answer")),
        (Cursor(1, 3), Token("c", "answer")),
    ]


@pytest.mark.parametrize("piece", ["a" * 1000, "페" * 999, "\n" * 900, "👩" * 500])
def test_a_long_answer_fills_its_frames_but_never_beyond_64_kib(piece: str) -> None:
    log = recorded([(Token(piece, "answer"), False)] * 400)
    sizes = [len(text(one).encode()) for one in coalesce(log)]
    assert sum(sizes) == 400 * len(piece.encode())
    assert max(sizes) <= 64 * 1024
    assert min(sizes[:-1]) > 30 * 1024


def test_a_reader_that_keeps_up_gets_each_token_as_it_was_written() -> None:
    log = recorded([(Token("a", "answer"), False)])
    assert coalesce(log)[0] is log[0]


def test_tokens_of_two_attempts_are_not_joined() -> None:
    log = [
        Recorded(Cursor(attempt, seq), Token(f"{attempt}{seq}", "answer"))
        for attempt, seq in [(1, 1), (1, 2), (2, 1), (2, 2)]
    ]
    assert coalesce(log) == [
        Recorded(Cursor(1, 2), Token("1112", "answer")),
        Recorded(Cursor(2, 2), Token("2122", "answer")),
    ]


def test_tokens_that_were_joined_keep_their_node_where_another_one_speaks() -> None:
    log = recorded([(Token("a", node), False) for node in ("answer", "answer", "retrieve")])
    assert coalesce(log) == [
        Recorded(Cursor(1, 2), Token("aa", "answer")),
        Recorded(Cursor(1, 3), Token("a", "retrieve")),
    ]


def test_two_tokens_of_exactly_64_kib_become_one() -> None:
    half = Token("a" * (32 * 1024), "answer")
    assert len(coalesce(recorded([(half, False)] * 2))) == 1


@pytest.mark.parametrize(("content", "size"), [("", 0), ("abc", 3), ("페트", 6), ("a👩", 5)])
def test_a_tokens_size_is_its_text_in_utf_8(content: str, size: int) -> None:
    assert size_of(Token(content, "answer")) == size


@pytest.mark.parametrize(
    ("event", "texts"),
    [
        (Done("A2", "a" * 5000, "intent"), 5008),
        (Failed("code", "m" * 3000, True, "r" * 2000), 5004),
        (StageStarted("stage", 10), 5),
        (Data("found", ["d" * 3000], "a"), 3004),
    ],
)
def test_any_other_events_size_is_about_that_of_all_its_texts(event: Event, texts: int) -> None:
    assert texts <= size_of(event) <= texts + 512


@pytest.mark.parametrize("content", ["a" * 16_384, "a" * 16_385, "👩" * 40_000])
def test_a_token_that_is_too_long_is_split_into_as_few_as_are_short_enough(content: str) -> None:
    pieces = split(Token(content, "answer"))
    assert "".join(piece.content for piece in pieces) == content
    assert {piece.node for piece in pieces} == {"answer"}
    assert [len(piece.content) for piece in pieces[:-1]] == [16_384] * (len(pieces) - 1)
    assert 0 < len(pieces[-1].content) <= 16_384


def test_a_joined_token_comes_apart_into_those_that_it_was_joined_of() -> None:
    log = [Recorded(Cursor(2, seq), Token(piece, "answer")) for seq, piece in enumerate("abc", 5)]
    (joined,) = coalesce(log)
    assert split_again(joined, [1, 1, 1]) == log


def test_an_event_that_was_not_joined_does_not_come_apart() -> None:
    assert split_again(Recorded(Cursor(1, 2), StageStarted("stage", 10)), ()) == []


@given(LOG)
def test_a_joined_log_comes_apart_into_what_it_was(log: list[Recorded]) -> None:
    joined, lengths = join(log)
    assert joined == coalesce(log)
    assert all(len(each) > 1 for each in lengths.values()), "of the others nothing is kept"
    apart = [split_again(one, lengths.get(at, ())) or [one] for at, one in enumerate(joined)]
    assert [one for each in apart for one in each] == log
