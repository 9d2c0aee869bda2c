"""Readers that are behind: fewer frames, the same text, every id still a cursor."""

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.application.coalescing import coalesce
from sluice.domain.events import BEGINNING, Cursor, Event, Reasoning, Recorded, Token
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
