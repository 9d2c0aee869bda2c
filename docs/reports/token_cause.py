"""What the readers of a graph are given, by the client that its node calls, and what hides it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextvars import Context
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models.llms import LLM
from langchain_core.outputs import GenerationChunk
from langchain_core.tools import tool
from langgraph.graph import StateGraph

from docs.reports.lab import (
    PIECES,
    Lab,
    State,
    a_lab,
    beside,
    chain,
    in_events,
    in_modes,
    joined,
    show,
    table,
)

Call = Callable[[], AsyncGenerator[str, None]]
Place = Callable[[Call], StateGraph[State]]

_EVENTS = ("chain", "chat_model", "llm")
_MODES = ("tasks", "updates", "messages", "custom")


async def experiment() -> str:
    async with a_lab() as lab:
        return f"{await _given(lab)}\n\n{await _hidden(lab)}"


async def _given(lab: Lab) -> str:
    counts = [await _counted(call) for call in (lab.raw, lab.wrapped, _text_model)]
    names = [f"on_{kind}_{what}" for kind in _EVENTS for what in ("start", "stream", "end")]
    return table(
        ["astream_events", "raw SDK", "SDK in a chat model", "a text model"],
        *([name, *(count[name] for count in counts)] for name in names),
        ["astream", "", "", ""],
        *([name, *(count[name] for count in counts)] for name in _MODES),
    )


class _TextModel(LLM):
    """LangChain's other kind of model, text in and text out; one that needs no server."""

    @property
    def _llm_type(self) -> str:
        return "text"

    def _call(self, prompt: str, stop: list[str] | None = None, *_: Any, **__: Any) -> str:
        raise NotImplementedError

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> AsyncIterator[GenerationChunk]:
        for text in PIECES:
            if run_manager:  # a text model reports its tokens itself; a chat model's are reported
                await run_manager.on_llm_new_token(text)
            yield GenerationChunk(text=text)


async def _text_model() -> AsyncGenerator[str, None]:
    async for text in _TextModel().astream("Why?"):
        yield text


async def _counted(call: Call) -> Counter[str]:
    graph = in_the_node(call).compile()
    asked = State(message="Why?")
    counted = Counter([e["event"] async for e in graph.astream_events(asked, version="v2")])
    modes: Any = list(_MODES)
    counted.update([p["type"] async for p in graph.astream(asked, stream_mode=modes, version="v2")])
    return counted


async def _hidden(lab: Lab) -> str:
    header = ["where the call is made", "raw: events", "messages", "wrapped: events", "messages"]
    rows: list[list[object]] = []
    for place in PLACES:
        heard: list[object] = []
        for call in (lab.raw, lab.wrapped):
            heard.append(len(await in_events(place(call))))
            heard.append(len(await in_modes(place(call), "messages")))
        rows.append([place.__name__.replace("_", " "), *heard])
    return f"tokens heard, of {len(PIECES)} a call\n\n{table(header, *rows)}"


def in_the_node(call: Call) -> StateGraph[State]:
    async def answer(_: State) -> State:
        return {"answer": await joined(call())}

    return chain(("answer", answer))


def three_generators_deep(call: Call) -> StateGraph[State]:
    async def one() -> AsyncGenerator[str, None]:
        async for text in call():
            yield text

    async def two() -> AsyncGenerator[str, None]:
        async for text in one():
            yield text

    return in_the_node(two)


def in_a_task_of_its_own(call: Call) -> StateGraph[State]:
    async def answer(_: State) -> State:
        return {"answer": await asyncio.create_task(joined(call()))}

    return chain(("answer", answer))


def in_a_tool_that_the_node_calls(call: Call) -> StateGraph[State]:
    @tool
    async def ask() -> str:
        """Ask the model."""
        return await joined(call())

    async def answer(_: State) -> State:
        return {"answer": await ask.ainvoke({})}

    return chain(("answer", answer))


def in_two_nodes_side_by_side(call: Call) -> StateGraph[State]:
    async def ask(_: State) -> State:
        await joined(call())
        return {}

    return beside(("one", ask), ("two", ask))


def in_a_task_with_an_empty_context(call: Call) -> StateGraph[State]:
    async def answer(_: State) -> State:
        return {"answer": await asyncio.create_task(joined(call()), context=Context())}

    return chain(("answer", answer))


def in_a_task_older_than_the_run(call: Call) -> StateGraph[State]:
    asked = asyncio.Event()

    async def work() -> str:
        await asked.wait()
        return await joined(call())

    worker = asyncio.create_task(work())

    async def answer(_: State) -> State:
        asked.set()
        return {"answer": await worker}

    return chain(("answer", answer))


PLACES: tuple[Place, ...] = (
    in_the_node,
    three_generators_deep,
    in_a_task_of_its_own,
    in_a_tool_that_the_node_calls,
    in_two_nodes_side_by_side,
    in_a_task_with_an_empty_context,
    in_a_task_older_than_the_run,
)

if __name__ == "__main__":
    show(experiment)
