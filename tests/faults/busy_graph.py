"""A graph whose nodes leave threads of their own busy, each in one of the usual ways."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

from sluice.domain.ports import LLMClientPort

WAYS = ["synchronous", "to_thread", "pool", "thread", "pool_in_a_with", "blocked_loop"]
STARTED = "a thread is busy"
_SECONDS = 600


class State(TypedDict, total=False):
    message: str
    answer: str


def build(llm: LLMClientPort) -> StateGraph[State]:
    """The message is the name of the node that it goes to; any other is answered by the model."""

    async def answer(state: State) -> State:
        return {"answer": "".join([piece async for piece in llm.stream(state["message"])])}

    def route(state: State) -> str:
        return state["message"] if state["message"] in WAYS else "answer"

    graph = StateGraph(State)
    graph.add_node("answer", answer, metadata={"speaks": True})
    for node in (synchronous, to_thread, pool, thread, pool_in_a_with, blocked_loop):
        graph.add_node(node)
        graph.add_edge(node.__name__, END)
    graph.add_edge("answer", END)
    graph.add_conditional_edges(START, route, [*WAYS, "answer"])
    return graph


def _sleep() -> None:
    print(STARTED, flush=True)
    time.sleep(_SECONDS)


def synchronous(_state: State) -> None:
    _sleep()


async def to_thread(_state: State) -> None:
    await asyncio.to_thread(_sleep)


async def pool(_state: State) -> None:
    await asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), _sleep)


async def thread(_state: State) -> None:
    Thread(target=_sleep).start()
    await asyncio.Event().wait()


async def pool_in_a_with(_state: State) -> None:
    """Which waits for its threads, and lets the event loop wait with it, once it is cancelled."""
    with ThreadPoolExecutor(1) as own:
        await asyncio.get_running_loop().run_in_executor(own, _sleep)


async def blocked_loop(_state: State) -> None:
    _sleep()


def leaves_work(_llm: LLMClientPort) -> StateGraph[State]:
    """Its node is done before its thread is."""

    def work() -> None:
        print("left", flush=True)
        time.sleep(1)
        print("written", flush=True)

    async def leave(_state: State) -> State:
        Thread(target=work).start()
        return {"answer": "done"}

    graph = StateGraph(State)
    graph.add_node("leave", leave)
    graph.add_edge(START, "leave")
    graph.add_edge("leave", END)
    return graph


def wrong(_llm: LLMClientPort) -> StateGraph[State]:
    """Its factory fails, and has left a thread."""
    Thread(target=time.sleep, args=(_SECONDS,)).start()
    raise ValueError("no graph")
