"""A graph that keeps a state and asks: what it answers tells all that its state holds.

`turns` grows by one message a turn; a turn that did not count must not be in it.
"""

import json
import operator
from typing import Annotated, Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    message: str
    turns: Annotated[list[str], operator.add]
    answer: str


async def note(state: State) -> State:
    return {"turns": [state["message"]]}


async def ask(state: State) -> State:
    write = get_stream_writer()
    for word in ("I ", "ask: "):
        write({"token": word})
    first = interrupt("first", response_schema={"type": "integer"})
    second = interrupt("second", response_schema={"type": "integer"})
    told = json.dumps([state["turns"], first, second])
    write({"token": told})
    return {"answer": f"I ask: {told}"}


def build(_: Any) -> StateGraph[Any]:
    return (
        StateGraph(State)
        .add_node("note", note)
        .add_node("ask", ask, metadata={"speaks": True})
        .add_edge(START, "note")
        .add_edge("note", "ask")
    )
