"""Graphs that no test of a real process can do without."""

import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from domain.ports import LLMClientPort


class State(TypedDict, total=False):
    message: str
    answer: str


def blocking(_llm: LLMClientPort) -> StateGraph[State]:
    """Its one node keeps the event loop for the seconds it is asked for."""

    async def sleeps_without_letting_go(state: State) -> State:
        time.sleep(float(state["message"]))  # noqa: ASYNC251 - the fault itself
        return {"answer": "slept"}

    graph = StateGraph(State)
    graph.add_node("sleeps", sleeps_without_letting_go, metadata={"speaks": True})
    graph.add_edge(START, "sleeps")
    graph.add_edge("sleeps", END)
    return graph
