"""Graphs whose nodes leave threads of their own busy, each in one of the usual ways."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import Any, TypedDict

import anyio.to_thread
from langgraph.graph import END, START, StateGraph

from sluice.domain.ports import LLMClientPort

STARTED = "a thread is busy"
THREADS = 200
"""More than any pool has by default."""
_SECONDS = 600


class State(TypedDict, total=False):
    message: str
    answer: str


def _sleep() -> None:
    sys.stdout.write(f"{STARTED}\n")  # at once, which `print` of many threads is not
    sys.stdout.flush()
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


async def refuses_to_stop(_state: State) -> None:
    print(STARTED, flush=True)
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_SECONDS)


async def every_thread(_state: State) -> None:
    """Of the loop's default executor, and of anyio's."""
    await asyncio.gather(
        *(asyncio.to_thread(_sleep) for _ in range(THREADS)),
        *(anyio.to_thread.run_sync(_sleep) for _ in range(THREADS)),
    )


WAYS = {
    node.__name__: node
    for node in (
        synchronous,
        to_thread,
        pool,
        thread,
        pool_in_a_with,
        blocked_loop,
        refuses_to_stop,
        every_thread,
    )
}


def build(llm: LLMClientPort) -> StateGraph[State]:
    """The message names the node that it goes to; any other is answered by the model."""

    def route(state: State) -> str:
        return _next(state)

    return _graph(llm, route)


def without_threads(llm: LLMClientPort) -> StateGraph[State]:
    """The same, but LangGraph needs a thread for none but its synchronous node."""

    async def route(state: State) -> str:
        return _next(state)

    return _graph(llm, route)


def _next(state: State) -> str:
    return state["message"] if state["message"] in WAYS else "answer"


def _graph(
    llm: LLMClientPort, route: Callable[[State], str] | Callable[[State], Awaitable[str]]
) -> StateGraph[State]:
    async def answer(state: State) -> State:
        return {"answer": "".join([piece async for piece in llm.stream(state["message"])])}

    graph = StateGraph(State)
    graph.add_node("answer", answer, metadata={"speaks": True})
    graph.add_edge("answer", END)
    for name, node in WAYS.items():
        sleeps: Any = node
        graph.add_node(name, sleeps)
        graph.add_edge(name, END)
    graph.add_conditional_edges(START, route, [*WAYS, "answer"])
    return graph


def leaves_work(_llm: LLMClientPort) -> StateGraph[State]:
    """Its node is done before its thread is."""

    def work() -> None:
        print("left", flush=True)
        time.sleep(1)
        print("written", flush=True)

    async def leave(state: State) -> State:
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
