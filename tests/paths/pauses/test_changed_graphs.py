"""A graph that has become another one when its question is answered."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from sluice.domain.errors import AskerGone
from sluice.domain.events import Json
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from tests.paths.conftest import Path
from tests.paths.pauses.jobs import Job


def asking_in(*names: str, **options: Any) -> Any:
    """A graph that says something, and asks in the nodes of these names, side by side."""

    async def announce(state: MessagesState) -> Any:
        return {"messages": [AIMessage("I ask first.")]}

    async def ask(state: MessagesState) -> Any:
        return {"messages": [AIMessage(f"You said {interrupt('?')}.")]}

    built = StateGraph(MessagesState).add_node(announce, metadata={"speaks": True})
    built.add_edge(START, "announce")
    for name in names:
        built.add_node(name, ask, metadata={"speaks": True}).add_edge("announce", name)
    return built.compile(**options)


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (asking_in("ask"), asking_in("inquire")),
        (asking_in("ask"), asking_in()),
        (asking_in("ask", "inquire"), asking_in("ask")),
        (asking_in("ask", interrupt_before=["ask"]), asking_in("inquire")),
    ],
)
async def test_an_answer_whose_node_is_gone_is_an_error_and_no_end(
    path: Path, saver: SqliteSaver, before: object, after: object, value: Json
) -> None:
    job = Job(path, lambda _: before, saver)
    pause = await job.pauses()
    job.build = lambda _: after
    with pytest.raises(AskerGone):
        await job.goes_on(pause, *[value] * len(pause.requests))
