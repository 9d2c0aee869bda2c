"""Graphs that no test of a real process can do without."""

import asyncio
import logging
import time
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from sluice.domain.ports import LLMClientPort


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


def careless(_llm: LLMClientPort) -> StateGraph[State]:
    """Its errors repeat what the user said, and one of them is left for nobody to await."""

    async def fails(message: str) -> None:
        raise ValueError(message)

    async def raises(state: State) -> State:
        left = asyncio.get_running_loop().create_task(fails(state["message"]))
        await asyncio.wait([left])
        del left
        asyncio.get_running_loop().call_soon(_fails_at_once, state["message"])
        await asyncio.sleep(0)
        try:
            await fails(state["message"])
        except ValueError:
            logging.getLogger("a.users.own").exception("a node failed")
        raise RuntimeError(state["message"])

    graph = StateGraph(State)
    graph.add_node("raises", raises, metadata={"speaks": True})
    graph.add_edge(START, "raises")
    graph.add_edge("raises", END)
    return graph


def _fails_at_once(message: str) -> None:
    raise ValueError(message)
