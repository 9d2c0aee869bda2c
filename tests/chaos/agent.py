"""A graph that keeps a state, calls a tool and asks, once in a node and once inside the tool.

What it answers tells all that its state holds. `turns` grows by one message a turn, and so do the
tool's results; a turn that did not count must be in neither.
"""

import json
import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

NUMBER = {"type": "integer"}


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    turns: Annotated[list[str], operator.add]
    first: int
    answer: str


@tool
async def double(number: int) -> str:
    """Twice what the user says, beside what the node was told."""
    return json.dumps([number, 2 * interrupt("second", response_schema=NUMBER)])


async def note(state: State) -> State:
    return {"turns": [state["message"]]}


async def ask(state: State) -> State:
    write = get_stream_writer()
    for word in ("I ", "ask: "):
        write({"token": word})
    first = interrupt("first", response_schema=NUMBER)
    call = {"name": "double", "args": {"number": first}, "id": f"call {state['message']}"}
    return {"first": first, "messages": [AIMessage("", tool_calls=[call])]}


async def tell(state: State) -> State:
    results = [json.loads(str(m.content)) for m in state["messages"] if isinstance(m, ToolMessage)]
    told = json.dumps([state["turns"], results, state["first"]])
    get_stream_writer()({"token": told})
    return {"answer": f"I ask: {told}"}


def build(_: Any) -> StateGraph[Any]:
    return (
        StateGraph(State)
        .add_node("note", note)
        .add_node("ask", ask, metadata={"speaks": True})
        .add_node("tools", ToolNode([double]), metadata={"tools": True})
        .add_node("tell", tell, metadata={"speaks": True})
        .add_edge(START, "note")
        .add_edge("note", "ask")
        .add_edge("ask", "tools")
        .add_edge("tools", "tell")
    )
