"""Real graphs that need no model, and checkpoints in memory."""

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from sluice.domain.chat import Job, Question, Turn
from sluice.domain.events import Event
from sluice.domain.graph_state import Head, Outcome, Resumption
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.token_path import TokenPath

SPEAKS = {"speaks": True}
THREAD = Head("thread")


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[str], operator.add]
    answer: str
    intent: str


async def answer(state: State) -> State:
    return {"answer": "x"}


class MemorySaver(Saver, InMemorySaver):
    """Ours over LangGraph's own; away for so many tries, with an error that passes."""

    outages = (ConnectionError,)

    def __init__(self, *, outages: int = 0) -> None:
        InMemorySaver.__init__(self)
        self.left, self.tries = outages, 0

    async def ready(self) -> None:
        self.tries += 1
        if self.left:
            self.left -= 1
            raise ConnectionError("secret")


def chain(**nodes: Any) -> Any:
    """The nodes one after the other; one that comes with metadata is a pair."""
    graph, before = StateGraph(State), START
    for name, node in nodes.items():
        function, metadata = node if isinstance(node, tuple) else (node, {})
        graph.add_node(name, function, metadata=metadata)
        graph.add_edge(before, name)
        before = name
    return graph


def a_question(
    message: str = "Why?",
    *,
    history: Sequence[Turn] = (),
    head: Head | None = None,
    resumption: Resumption | None = None,
    **fields: Any,
) -> Question:
    given: dict[str, Any] = {"id": "job", "chat_id": "chat", "user": "ann", "path": "A2"}
    job = Job(**given | {"message": message, "request_id": "request"} | fields)
    return Question(job, history, head, resumption)


async def ran(graph: Any, asked: Question | None = None, **options: Any) -> Outcome:
    """What the run comes to; what it tells is nobody's."""
    watched = graph if isinstance(graph, WatchedGraph) else WatchedGraph(graph, **options)
    told: list[Event] = []
    return await TokenPath(watched).run(asked or a_question(), told.append)
