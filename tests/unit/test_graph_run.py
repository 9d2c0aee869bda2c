"""A run of a graph: what is told when, in which order, and what makes its end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage

from sluice.domain.errors import PipelineError, UpstreamTruncated
from sluice.domain.events import (
    Data,
    Done,
    Event,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)
from sluice.infrastructure.pipeline.listeners import Reader
from tests.unit.graph_runs import INSIDE, A, B, Run

DATA = Data("n", 1, "a")


@dataclass
class Node:
    namespace: str

    def heard_at(self, namespace: str) -> bool:
        return True


async def test_a_done_says_how_the_run_went() -> None:
    run = Run(hint="nobody speaks")
    assert run.end("A1", {"answer": "x", "intent": "ask"}, offline=True) == Done(
        "A1", "x", "ask", "stop", Usage(1, 2, 3), offline_model=True, hint="nobody speaks"
    )
    assert Run().end("A2", {"answer": "x", "intent": 3}, offline=False) == Done(
        "A2", "x", None, "stop", Usage(1, 2, 3)
    )


async def test_a_state_may_be_of_a_class_of_the_graphs_own() -> None:
    @dataclass
    class State:
        answer: str

    assert Run().end("A2", State("x"), offline=False).answer == "x"


@pytest.mark.parametrize(
    ("said", "answer", "squared"),
    [
        (["x", "y"], "xy", []),
        (["x", "y"], "xyz", [Token("z", "a")]),
        (["x", "y"], "xz", [Reset("revised"), Token("xz", "a")]),
        (["x", "y"], "x", [Reset("revised"), Token("x", "a")]),
        (["x"], "", [Reset("revised")]),
        ([], "x", [Token("x", "")]),
    ],
)
@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_the_tokens_are_made_equal_to_the_answer(
    said: list[str], answer: str, squared: list[Event], reader: Reader
) -> None:
    run = Run(reader)
    for text in said:
        run.token(A, "a", text)
    told = list(run.told)
    run.done({"answer": answer})
    assert run.told == [*told, *squared]


async def test_where_no_tokens_are_told_none_make_up_the_answer() -> None:
    run = Run("events")
    run.done({"answer": "x"})
    assert run.told == []


async def test_what_still_waits_is_told_at_the_end() -> None:
    run = Run()
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    assert run.told == [Token("1", "a")]
    run.done({"answer": "12"})
    assert run.told == [Token("1", "a"), Token("2", "b")]


async def test_the_end_of_a_stage_lets_the_next_in_turn_be_heard() -> None:
    run = Run()
    run.stage_started(A, {})
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    run.stage_ended(A)
    assert run.tokens == ["1", "2"]


async def test_a_speaker_that_fails_lets_the_next_in_turn_be_heard_and_stays_open() -> None:
    run = Run()
    run.stage_started(A, {})
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    run.speaker_failed(A)
    assert run.told[1:] == [Token("1", "a"), Token("2", "b")]
    run.node_started(Node(A))
    run.stage_ended(A)
    assert run.told[-1] == StageCompleted("a", 33)


async def test_a_speaker_that_failed_inside_has_failed_when_its_graph_is_run_anew() -> None:
    run = Run()
    run.stage_started(INSIDE, {})
    run.speaker_failed(INSIDE)
    run.stage_started("a:1|2|i:9", {})
    assert run.told[1] == StageFailed("a/i", 0)


async def test_what_is_shown_waits_behind_the_tokens_it_belongs_to_and_else_for_nothing() -> None:
    run = Run()
    run.token(A, "a", "1")
    run.show(B, DATA, B)
    run.token(B, "b", "2")
    other = Data("o", 2, "b")
    run.show(A, other, B)
    assert run.told == [Token("1", "a"), DATA]
    run.done({"answer": "12"})
    assert run.told[2:] == [Token("2", "b"), other]


async def test_a1_shows_nothing_of_a_node_before_its_stage() -> None:
    run = Run("events")
    run.show(A, DATA, A)
    other = Data("o", 2, "b")
    run.show(A, other, A)
    assert run.told == []
    run.stage_started(A, {})
    assert run.told == [StageStarted("a", 0), DATA, other]
    run.show(A, DATA, A)
    assert run.told[3:] == [DATA]


async def test_a1_is_shown_from_another_thread_behind_the_stage_too() -> None:
    run = Run("events")
    await asyncio.to_thread(run.show, A, DATA, A)
    await asyncio.sleep(0)
    run.stage_started(A, {})
    assert run.told == [StageStarted("a", 0), DATA]


async def test_a1_shows_at_the_end_what_no_stage_began_for() -> None:
    run = Run("events")
    run.show(A, DATA, A)
    run.done({"answer": "x"})
    assert run.told == [DATA]


async def test_a_failed_node_is_a_failed_stage_unless_it_is_tried_again() -> None:
    run = Run()
    run.stage_started(INSIDE, {})
    run.node_failed(INSIDE)
    run.stage_started("a:1|2|i:9", {})
    assert run.told == [StageStarted("a/i", 0), StageFailed("a/i", 0), StageStarted("a/i", 0)]
    run = Run()
    run.stage_started(INSIDE, {})
    run.node_failed(INSIDE)
    run.node_started(Node(INSIDE))
    run.stage_started("a:1|2|i:9", {})
    assert run.told == [StageStarted("a/i", 0)]


@pytest.mark.parametrize("how", [StageCompleted, StageFailed])
async def test_a_node_whose_end_nobody_reports_ends_at_the_next_look(
    how: type[StageCompleted | StageFailed],
) -> None:
    run = Run()
    run.stage_started(A, {})
    run.node_left(A, how)
    assert len(run.told) == 1
    run.stages_left()
    assert [type(event) for event in run.told] == [StageStarted, how]
    run = Run()
    run.stage_started(A, {})
    run.node_left(A, how)
    run.done({"answer": ""})
    assert [type(event) for event in run.told] == [StageStarted, how]


async def test_a_stage_that_is_none_opens_none() -> None:
    run = Run()
    run.visibility.declare("a", {"stage": False})
    run.stage_started(A, {})
    run.stage_started("unknown:5", {"stage": False})
    assert run.told == []
    run.stage_started("unknown:6", {})
    assert run.told == [StageStarted("unknown", 0)]


async def test_where_all_nodes_have_run_the_work_is_all_done() -> None:
    run = Run()
    for namespace in (INSIDE, A, B):
        run.stage_started(namespace, {})
        run.stage_ended(namespace)
    assert run.told[-1] == StageCompleted("b", 100)


async def test_where_nodes_may_run_again_the_work_is_never_all_done() -> None:
    run = Run(has_loop=True)
    for namespace in (INSIDE, A, B):
        run.stage_started(namespace, {})
        run.stage_ended(namespace)
    assert run.told[-1] == StageCompleted("b", 99)


async def test_the_innermost_watched_node_is_where_something_runs() -> None:
    run, outer, inner = Run(), Node(A), Node(INSIDE)
    run.node_started(outer)
    run.node_started(inner)
    assert run.node_at(A) is outer
    assert run.node_at(INSIDE) is inner
    assert run.node_at(f"{INSIDE}|1|x:7") is inner
    assert run.node_at("a:1|other:8") is outer
    assert run.node_at("b:2") is None
    assert run.node_at("") is None


async def test_an_error_that_somebody_caught_ends_the_run_all_the_same() -> None:
    run, first = Run(), PipelineError("first")
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    assert run.fails(first) is first
    second = PipelineError("second")
    assert run.fails(second) is second
    with pytest.raises(PipelineError, match="first"):
        run.done({"answer": "12"})
    assert run.tokens == ["1", "2"]


async def test_messages_of_speaking_nodes_are_the_answer() -> None:
    run = Run()
    run.answer.add({"messages": AIMessage("x", id="1")}, None, inside=False)
    assert run.done({}).answer == "x"


async def test_from_another_thread_all_is_told_on_the_loops() -> None:
    run, learnt, late = Run(), list[object](), Data("n", 2, "b")
    here = asyncio.get_running_loop()

    def learn(*given: object) -> None:
        learnt.extend((*given, asyncio.get_running_loop() is here))

    def elsewhere() -> None:
        run.token(A, "a", "1")
        run.token(B, "b", "2")
        run.show(A, DATA, A)
        run.show(A, late, B)
        run.on_loop(learn, 1, 2)

    await asyncio.to_thread(elsewhere)
    await asyncio.sleep(0)
    assert run.told == [Token("1", "a"), DATA]
    run.done({"answer": "12"})
    assert run.told[2:] == [Token("2", "b"), late]
    assert run.threads == {get_ident()}
    assert learnt == [1, 2, True]
    run.on_loop(learn, 3)
    assert learnt[3:] == [3, True]


async def test_runs_count_the_roots_below_them_from_one() -> None:
    run = Run()
    assert [next(run.child_roots), next(run.child_roots)] == [1, 2]
    assert (run.listener, run.thoughts, run.waits) == (None, None, False)


async def paused(*told: str) -> dict[str, Any]:
    """What a run notes that has said this in `a`, and shown `DATA`."""
    run = Run(note={})
    for text in told:
        run.token(A, "a", text)
    run.show(A, DATA, A)
    return run.pause()


async def test_a_run_goes_on_only_behind_a_pause() -> None:
    runs = [Run(), Run(note={}), Run(note=await paused("1"))]
    assert [run.resumes for run in runs] == [False, False, True]


async def test_a_run_that_goes_on_tells_only_what_is_new() -> None:
    run = Run(note=await paused("1", "2"))
    for text in ("1", "2", "3"):
        run.token(A, "a", text)
    run.show(A, DATA, A)
    run.show(A, Data("n", 2, "a"), A)
    assert run.told == [Token("3", "a"), Data("n", 2, "a")]
    assert run.done({"answer": "123"}).answer == "123"
    assert len(run.told) == 2, "its tokens are the answer, with those from before the pause"


async def test_what_another_node_shows_behind_the_pause_is_new() -> None:
    run = Run(note=await paused("1"))
    run.show(B, DATA, B)
    assert run.told == [DATA]
    Run().pause()  # also of a run that keeps no note of what it told


async def test_a_node_that_says_something_else_than_before_its_pause_revises_it() -> None:
    run = Run(note=await paused("1", "2"))
    for text in ("1", "x"):
        run.token(A, "a", text)
    assert run.told[0] == Reset("revised")
    assert "".join(run.tokens) == "1x"
    run.done({"answer": "1x"})
    assert "".join(run.tokens) == "1x"


async def test_what_others_said_before_the_pause_stays_where_one_revises() -> None:
    first = Run(note={})
    first.token(B, "b", "b")
    first.stage_ended(B)
    first.token(A, "a", "1")
    run = Run(note=first.pause())
    run.token(A, "a", "x")
    assert run.told == [Reset("revised"), Token("b", "b"), Token("x", "a")]


async def test_a_pause_tells_what_waits_for_its_turn() -> None:
    run = Run(note={})
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    run.pause()
    assert run.tokens == ["1", "2"]
    run = Run("events", note={})
    run.show(A, DATA, A)
    run.stage_started(B, {})
    run.node_left(B, StageFailed)
    run.pause()
    assert run.told == [StageStarted("b", 0), StageFailed("b", 0), DATA]


async def test_what_was_cut_before_a_pause_is_so_behind_it_and_is_not_what_is_cut_later() -> None:
    first = Run(note={})
    first.cut("x")
    note = first.pause()
    run = Run(note=note)
    run.cut("y")
    for answer in "xy":
        with pytest.raises(UpstreamTruncated):
            run.done({"answer": answer})
    assert Run(note=note).done({"answer": "y"}).answer == "y"


async def test_what_a_run_has_counted_is_counted_on_behind_its_pause() -> None:
    first = Run(note={})
    first.stage_started(B, {})
    first.stage_ended(B)
    first.answer.add({"messages": AIMessage("x", id="1")}, None, inside=True)
    run = Run(note=first.pause())
    run.stage_started(A, {})
    assert run.told == [StageStarted("a", 33)]
    done = run.done({})
    assert (done.answer, done.usage) == ("x", Usage(1, 2, 3))


async def test_a_run_hears_alone_where_all_its_listeners_are_and_nobody_else() -> None:
    run, ours, thoughts, theirs = Run(), Heard(), Heard(), Heard()
    run.listener = ours
    assert run.hears_alone([ours])
    assert not run.hears_alone([theirs])
    assert not run.hears_alone([])
    assert not run.hears_alone([ours, theirs])
    assert run.thinker(uuid4()) is None
    run.thoughts = thoughts
    assert run.hears_alone([thoughts, ours])
    assert not run.hears_alone([ours])
    assert not run.hears_alone([ours, theirs])
    run_id = uuid4()
    think = run.thinker(run_id)
    assert think is not None
    think("hm")
    assert thoughts.asked == [run_id, "hm"]


async def test_what_its_listener_knows_of_calls_is_noted() -> None:
    run = Run()
    run.pause()
    run.thoughts = Heard()
    assert run.pause()["named"] == [3]


class Heard:
    """A listener of either kind."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def take(self, run_id: UUID, handlers: object) -> None:
        return None

    def end_of(self, run_id: UUID) -> Callable[[str | None], None]:
        return lambda _: None

    def noted(self) -> dict[str, Any]:
        return {"named": [3]}

    def thinker(self, run_id: UUID) -> Callable[[str], None]:
        self.asked.append(run_id)
        return self.asked.append


async def test_what_is_an_earlier_turns_is_no_answer_of_this_one() -> None:
    run = Run()
    run.answer.add({"messages": AIMessage("x", id="1")}, None, inside=False)
    state = {"answer": "old", "intent": "old"}
    done = run.end("A2", state, offline=False, earlier={"answer", "intent"})
    assert (done.answer, done.intent) == ("x", None)
