"""Three ways to make a raw call heard: which reader hears it then, and what it learns."""

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_async_callback_manager_for_config
from langgraph.config import get_stream_writer

from docs.reports.lab import PIECES, Lab, Node, State, a_lab, chain, in_events, joined, show, table


async def experiment() -> str:
    async with a_lab() as lab:
        mends = {
            "none": _unmended(lab),
            "stream writer": _written(lab),
            "callback by hand": _reported(lab, end=False),
            "callback by hand, and its end": _reported(lab, end=True),
            "chat model": _wrapped(lab),
            "chat model and stream writer": _wrapped_and_written(lab),
        }
        rows = [[name, *await _heard(node)] for name, node in mends.items()]
    columns = ["mend", "events", "messages", "custom", "node", "finish reason"]
    return f"texts heard, of {len(PIECES)}\n\n{table(columns, *rows)}"


async def _heard(node: Node) -> list[object]:
    graph = chain(("answer", node))
    asked = State(message="Why?")
    modes: Any = ["messages", "custom"]
    parts: AsyncIterator[Any] = graph.compile().astream(asked, stream_mode=modes, version="v2")
    told = [part async for part in parts]
    messages = [part["data"] for part in told if part["type"] == "messages"]
    reasons = [message.response_metadata.get("finish_reason") for message, _ in messages]
    return [
        len(await in_events(graph)),
        len([message for message, _ in messages if message.text]),
        len([part for part in told if part["type"] == "custom"]),
        next((metadata["langgraph_node"] for _, metadata in messages), "-"),
        next(filter(None, reasons), "-"),
    ]


def _unmended(lab: Lab) -> Node:
    async def answer(_: State) -> State:
        return {"answer": await joined(lab.raw())}

    return answer


def _written(lab: Lab) -> Node:
    async def answer(_: State) -> State:
        write = get_stream_writer()
        async for text in lab.raw():
            write({"token": text})
        return {}

    return answer


def _reported(lab: Lab, *, end: bool) -> Node:
    async def answer(_: State, config: RunnableConfig) -> State:
        callbacks = get_async_callback_manager_for_config(config)
        (run,) = await callbacks.on_chat_model_start({}, [[HumanMessage("Why?")]])
        said = ""
        async for text in lab.raw():
            said += text
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
            await run.on_llm_new_token(text, chunk=chunk)
        if end:
            whole = ChatGeneration(message=AIMessage(said))
            await run.on_llm_end(LLMResult(generations=[[whole]]))
        return {}

    return answer


def _wrapped(lab: Lab) -> Node:
    async def answer(_: State) -> State:
        return {"answer": await joined(lab.wrapped())}

    return answer


def _wrapped_and_written(lab: Lab) -> Node:
    async def answer(_: State) -> State:
        write = get_stream_writer()
        async for text in lab.wrapped():
            write({"token": text})
        return {}

    return answer


if __name__ == "__main__":
    show(experiment)
