"""A model that another model asks: what of both is told, what they have cost, and why they end."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk

from sluice.domain.events import Token, Usage
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.tap import Tap
from sluice.infrastructure.pipeline.visibility import SILENT
from tests.unit.test_call_listener import COUNTED, ended, run_with, said, started

T = TypeVar("T")
BELOW = "a:1|x:7"
OTHER = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 7}
SILENCED: Any = {"tags": ["nostream"]}


class Outer(GenericFakeChatModel):
    def _call(self, run_manager: Any, begin: Callable[[], T]) -> T:
        """A method in which LangChain's models read an answer: what it begins is inside."""
        return begin()


def inside(outer: UUID, listener: CallListener, namespace: str = BELOW, **of: Any) -> Any:
    model = Outer(messages=iter([]))
    return model._call(SimpleNamespace(run_id=outer), lambda: started(listener, namespace, **of))


def over(
    listener: CallListener, run_id: UUID, usage: Any = None, reason: str | None = None
) -> None:
    told = {"finish_reason": reason} if reason else {}
    ended(listener, run_id, AIMessage("x", usage_metadata=usage, response_metadata=told))


async def test_on_messages_the_chunks_of_who_hands_on_are_not_for_the_user() -> None:
    listener = CallListener(run_with())
    outer, around = started(listener, BELOW)
    _, metadata = inside(outer, listener)
    _, deepest = inside(outer, listener)
    assert SPOKEN not in around
    assert metadata[SPOKEN] == deepest[SPOKEN] == BELOW


async def test_on_the_tap_only_what_it_adds_is_told() -> None:
    run = run_with()
    tap = Tap(run)
    outer, _ = started(tap, BELOW)
    run_id, _ = inside(outer, tap)
    for each, text in ((run_id, "x"), (outer, "x"), (outer, "!")):
        said(tap, each, AIMessageChunk(content=text))
    assert run.told == [Token("x", "a/x"), Token("!", "a/x")]


async def test_who_asks_a_silent_one_speaks_for_itself() -> None:
    run = run_with()
    for listener in (CallListener(run), Tap(run)):
        outer, around = started(listener, BELOW)
        inside(outer, listener, **SILENCED)
        assert around[SPOKEN] == BELOW
        said(listener, outer, AIMessageChunk(content="x"))
    assert run.told == [Token("x", "a/x")]


async def test_whom_a_silent_one_asks_is_heard() -> None:
    listener = CallListener(run_with())
    outer, around = started(listener, BELOW, **SILENCED)
    assert inside(outer, listener)[1][SPOKEN] == BELOW
    assert SPOKEN not in around


@pytest.mark.parametrize(
    ("usages", "own", "usage"),
    [
        ([COUNTED], COUNTED, Usage(2, 4, 7)),
        ([COUNTED, OTHER], COUNTED, Usage(7, 10, 14)),
        ([OTHER, COUNTED], COUNTED, Usage(7, 10, 14)),
        ([COUNTED], OTHER, Usage(7, 10, 14)),
        ([None], COUNTED, Usage(2, 4, 7)),
        ([COUNTED], None, Usage(2, 4, 7)),
    ],
)
@pytest.mark.parametrize("of", [{}, SILENCED])
async def test_what_is_handed_on_has_cost_once(
    usages: list[Any], own: Any, usage: Usage, of: Any
) -> None:
    run = run_with()
    listener = CallListener(run)
    outer, _ = started(listener)
    for each in usages:
        over(listener, inside(outer, listener, **of)[0], each)
    over(listener, outer, own)
    assert run.calls.usage == usage


async def test_so_it_has_where_it_is_handed_on_twice() -> None:
    run = run_with()
    listener = CallListener(run)
    outer, _ = started(listener)
    middle, _ = inside(outer, listener)
    inmost, _ = inside(middle, listener)
    for each, reason in ((inmost, "length"), (middle, None), (outer, None)):
        over(listener, each, COUNTED, reason)
    assert run.calls.usage == Usage(2, 4, 7)
    assert run.calls.finish_reason == "length"


@pytest.mark.parametrize(("own", "reason"), [(None, "length"), ("stop", "stop")])
async def test_who_says_no_reason_ends_for_the_last_ones(own: str | None, reason: str) -> None:
    run = run_with()
    listener = CallListener(run)
    outer, _ = started(listener)
    for each in ("stop", "content_filter", "length"):
        over(listener, inside(outer, listener)[0], None, each)
    over(listener, outer, None, own)
    assert run.calls.finish_reason == reason


@pytest.mark.parametrize("failed", [False, True])
async def test_nothing_is_kept_of_calls_that_are_over(failed: bool) -> None:
    listener = CallListener(run_with())
    outer, _ = started(listener)
    run_id, _ = inside(outer, listener)
    over(listener, run_id)
    failing, _ = inside(outer, listener)
    listener.on_llm_error(ValueError(), run_id=failing)
    if failed:
        listener.on_llm_error(ValueError(), run_id=outer)
    else:
        over(listener, outer)
    assert (listener._marked, listener._around, listener._costs) == ({}, {}, {})


async def test_a_call_outside_of_all_is_in_no_others_place() -> None:
    run = run_with(SILENT)
    listener = CallListener(run)
    for usage in (COUNTED, COUNTED):
        over(listener, started(listener)[0], usage)
    assert run.calls.usage == Usage(3, 6, 11)
