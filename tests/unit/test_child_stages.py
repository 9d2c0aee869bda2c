"""A graph that a node runs by itself: its nodes as stages, and what a task of it writes."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import task

from sluice.domain.events import Event, StageCompleted, StageStarted, Token
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.unit.small_graphs import SPEAKS, State, a_question, answer, chain


async def told(graph: WatchedGraph, reader: str) -> list[Event]:
    events: list[Event] = []
    path = TokenPath(graph, reader="tap" if reader == "tap" else "messages")
    await path.run(a_question(), events.append)
    return events


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_its_nodes_are_stages_inside_the_node_that_runs_it(reader: str) -> None:
    inner = chain(say=answer).compile(checkpointer=InMemorySaver())

    async def work(state: State) -> State:
        await inner.ainvoke({}, {"configurable": {"thread_id": "own"}})
        return {"answer": "x"}

    events = await told(WatchedGraph(chain(work=work)), reader)
    started = [event.stage for event in events if isinstance(event, StageStarted)]
    ended = [event.stage for event in events if isinstance(event, StageCompleted)]
    assert (started, ended) == (["work", "work/say"], ["work/say", "work"])


@task
async def note(text: str) -> str:
    get_stream_writer()({"token": text})
    return text


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_what_a_task_writes_is_heard_of_its_node(reader: str) -> None:
    async def work(state: State) -> State:
        return {"answer": await note("x")}

    events = await told(WatchedGraph(chain(work=(work, SPEAKS))), reader)
    assert [event for event in events if isinstance(event, Token)] == [Token("x", "work/note")]
