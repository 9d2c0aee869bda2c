"""Graphs that ask for more than yes or no, or for two things; they answer what they were told."""

import json
import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "description": "As on the parcel."},
        "amount": {"type": "integer", "maximum": 5},
        "price": {"type": "number"},
        "size": {"type": "string", "enum": ["small", "medium", "large"], "default": "small"},
        "gift": {"type": "boolean"},
        "extras": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
    "required": ["name", "amount"],
}


class State(TypedDict, total=False):
    message: str
    told: Annotated[list[Any], operator.add]
    answer: str


async def first(state: State) -> State:
    return {"told": [interrupt("Which tea?")]}


async def second(state: State) -> State:
    return {"told": [interrupt({"question": "How much?"}, response_schema={"type": "integer"})]}


async def order(state: State) -> State:
    return {"told": [interrupt({"question": "What shall it be?"}, response_schema=ORDER)]}


async def end(state: State) -> State:
    return {"answer": json.dumps(state["told"])}


def form(_: Any) -> StateGraph[Any]:
    built = StateGraph(State).add_node("order", order)
    return _ended(built).add_edge(START, "order").add_edge("order", "end")


def two(_: Any) -> StateGraph[Any]:
    built = _ended(StateGraph(State).add_node("first", first).add_node("second", second))
    built.add_edge(START, "first").add_edge(START, "second")
    return built.add_edge(["first", "second"], "end")


def _ended(built: StateGraph[Any]) -> StateGraph[Any]:
    return built.add_node("end", end, metadata={"speaks": True})
