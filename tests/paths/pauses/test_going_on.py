"""What a run knows that goes on behind a pause: nothing is told, counted or begun twice."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from sluice.application.model_calls import current_node
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Json, Reset
from sluice.domain.graph_state import Advanced, Head, Pause
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from tests.paths.conftest import Path, Told, question
from tests.paths.pauses.jobs import Form, Job, State, graph, say


async def test_what_was_told_before_a_wrong_answer_is_not_told_again(
    path: Path, saver: SqliteSaver
) -> None:
    answered: list[asyncio.Event] = []

    async def a(state: State) -> State:
        if answered:
            await answered[0].wait()
        form = interrupt("how much?", response_schema=Form)
        return {"log": [str(form.amount)]}

    async def b(state: State) -> State:
        if not answered:
            answered.append(asyncio.Event())
        name = interrupt("who?")
        say(f"For {name}.")
        answered[0].set()
        return {"answer": f"For {name}."}

    def build(llm: object) -> Any:
        built = StateGraph(State).add_node(a).add_node("b", b, metadata={"speaks": True})
        return built.add_edge(START, "a").add_edge(START, "b")

    job = Job(path, build, saver)
    pause = await job.pauses()
    values: dict[str, Json] = {"who?": "Ann"}
    again = await job.goes_on(pause, **values, **{"how much?": {"amount": "many"}})
    assert isinstance(again, Pause)
    assert await job.answers(again, **values, **{"how much?": {"amount": 2}}) == "For Ann."
    assert not any(isinstance(event, Reset) for event in job.told.events)


async def test_a_node_that_was_over_when_another_asked_has_one_start_and_one_end(
    path: Path, saver: SqliteSaver
) -> None:
    async def a(state: State) -> State:
        say("a ")
        return {"log": ["a"]}

    async def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    async def end(state: State) -> State:
        return {"answer": f"a {state['log'][-1]}"}

    def build(llm: object) -> Any:
        built = StateGraph(State).add_node("a", a, metadata={"speaks": True})
        built.add_node(ask).add_node(end)
        built.add_edge(START, "a").add_edge(START, "ask")
        return built.add_edge(["a", "ask"], "end")

    job = Job(path, build, saver)
    assert await job.answers(await job.pauses(), "yes") == "a yes"
    assert sorted(job.told.stages) == ["+a", "+ask", "+end", "-a", "-ask", "-end"]


async def test_what_was_said_side_by_side_before_a_pause_is_known_as_it_was_told(
    path: Path, saver: SqliteSaver
) -> None:
    begun, waits = asyncio.Event(), asyncio.Event()

    async def a(state: State) -> State:
        say("a1 ")
        begun.set()
        await waits.wait()
        say("a2 ")
        return {"log": ["a"]}

    async def b(state: State) -> State:
        await begun.wait()
        say("b ")
        waits.set()
        return {"log": ["b"]}

    async def ask(state: State) -> State:
        return {"answer": f"a1 a2 b {interrupt('?')}"}

    def build(llm: object) -> Any:
        built = StateGraph(State)
        for name, node in (("a", a), ("b", b), ("ask", ask)):
            built.add_node(name, node, metadata={"speaks": True})
        built.add_edge(START, "a").add_edge(START, "b")
        return built.add_edge(["a", "b"], "ask")

    job = Job(path, build, saver)
    assert await job.answers(await job.pauses(), "yes") == "a1 a2 b yes"
    assert not any(isinstance(event, Reset) for event in job.told.events)


async def test_data_and_cost_before_a_pause_are_told_once_and_counted(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        get_stream_writer()({"data": {"found": 1}})
        get_stream_writer()({"data": {"found": 2}})
        got = interrupt("?")
        get_stream_writer()({"data": {"got": got}})
        return {"answer": "x"}

    named: Any = {"data": frozenset({"ask"})}
    job = Job(path, lambda llm: graph(ask=ask), saver, named=named)
    pause = await job.pauses()
    await job.answers(pause, "yes")
    assert [each.data for each in job.told.data] == [{"found": 1}, {"found": 2}, {"got": "yes"}]


async def test_an_answer_that_was_cut_before_a_pause_is_no_answer_after_it(
    path: Path, saver: SqliteSaver
) -> None:
    async def answer(state: State) -> State:
        node = current_node.get()
        assert isinstance(node, RunningNode)
        node.run.cut("half")
        return {"answer": "half"}

    async def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    job = Job(path, lambda llm: graph(answer=answer, ask=ask), saver)
    pause = await job.pauses()
    with pytest.raises(UpstreamTruncated):
        await job.goes_on(pause, "yes")


async def test_what_was_written_before_a_pause_is_the_answer_of_the_turn(
    path: Path, saver: SqliteSaver
) -> None:
    async def answer(state: State) -> State:
        return {"answer": "same"}

    async def ask(state: State) -> State:
        interrupt("?")
        return {"log": ["x"]}

    job = Job(path, lambda llm: graph(answer=answer, ask=ask), saver, keeps=True)
    job.asked = replace(job.asked, head=Head("thread"))
    one = await job.goes_on(await job.pauses(), "yes")
    assert isinstance(one, Advanced)
    assert one.done.answer == "same"
    job.told = Told()
    job.asked = replace(question("again"), head=one.head)
    two = await job.goes_on(await job.pauses(), "yes")
    assert isinstance(two, Advanced)
    assert two.done.answer == "same"


async def test_an_attempt_begins_anew_beside_what_a_killed_one_left(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        return {"log": ["x"], "answer": f"{len(state.get('log', []))}{interrupt('?')}"}

    job = Job(path, lambda llm: graph(ask=ask), saver)
    await job.pauses()
    job.told = Told()
    pause = await job.pauses()  # the first was never kept
    assert await job.answers(pause, "yes") == "0yes"
