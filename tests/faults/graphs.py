"""Graphs that no test of a real process can do without."""

import asyncio
import logging
import time
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter


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


def worse_on_a2(llm: LLMClientPort) -> StateGraph[State]:
    """Says `so`; on A2 with the regression that it is asked for, or with `both` on both paths."""
    on_a2 = isinstance(llm, LangChainLLMAdapter)

    async def answer(state: State) -> State:
        kind = state["message"]
        if kind == "both" or (on_a2 and kind == "errors"):
            raise RuntimeError(kind)
        if on_a2 and kind == "late":
            await asyncio.sleep(5)
        if on_a2 and kind == "left":
            await asyncio.sleep(2)
        if on_a2 and kind == "doubled":
            get_stream_writer()({"token": "soso"})
        return {"answer": "so"}

    graph = StateGraph(State)
    graph.add_node("answer", answer, metadata={"speaks": True, "stage": False})
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph
