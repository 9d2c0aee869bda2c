"""Small real graphs, one for each way in which a node may speak or must not."""

import asyncio
import operator
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from sluice.domain.ports import LLMClientPort

SPEAKS = {"speaks": True}
Node = Callable[..., Any]
Build = Callable[[LLMClientPort], Any]


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[str], operator.add]
    answer: str


class Verdict(BaseModel):
    label: str


def chain(*nodes: tuple[str, Any, dict[str, Any]]) -> Any:
    """The nodes one after the other: functions, graphs, or other runnables."""
    graph = StateGraph(State)
    before = START
    for name, node, metadata in nodes:
        graph.add_node(name, node, metadata=metadata)
        graph.add_edge(before, name)
        before = name
    return graph.add_edge(before, END)


def beside(*nodes: tuple[str, Node, dict[str, Any]]) -> Any:
    """The nodes side by side."""
    graph = StateGraph(State)
    for name, node, metadata in nodes:
        graph.add_node(name, node, metadata=metadata)
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    return graph


async def joined(texts: AsyncGenerator[str, None]) -> str:
    async with aclosing(texts):
        return "".join([text async for text in texts])


def streaming(llm: LLMClientPort, key: str = "answer") -> Node:
    async def stream(state: State) -> dict[str, str]:
        return {key: await joined(llm.stream(state["message"]))}

    return stream


def noting(llm: LLMClientPort, prompt: str) -> Node:
    async def note(state: State) -> dict[str, list[str]]:
        return {"notes": [await joined(llm.stream(prompt))]}

    return note


def answering(llm: LLMClientPort) -> Any:
    return chain(("answer", streaming(llm), SPEAKS))


def silent_calls(llm: LLMClientPort) -> Any:
    """A classifier by `complete`, one by `structured`, a tool call: all in a speaking node."""

    async def classify(state: State) -> dict[str, list[str]]:
        said = await llm.complete("classify")
        verdict = await llm.structured("judge", Verdict)
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        called = await llm.call_tool("call", [tool])
        return {"notes": [said, verdict.label, str(called)]}

    return chain(("classify", classify, SPEAKS), ("answer", streaming(llm), SPEAKS))


def called_directly(model: Any, metadata: dict[str, Any]) -> Build:
    """A LangChain model that a node calls by itself."""

    def build(llm: LLMClientPort) -> Any:
        async def direct(state: State) -> dict[str, list[str]]:
            return {"notes": [str((await model.ainvoke("direct")).text)]}

        return chain(("direct", direct, metadata), ("answer", streaming(llm), SPEAKS))

    return build


def returning(model: Any, how: str) -> Build:
    """A node that returns the streamed message itself, one rebuilt from it, or a canned one."""

    def build(_: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, list[Any]]:
            if how == "canned":
                return {"messages": [AIMessage("a canned answer")]}
            message = AIMessageChunk(content="")
            async for chunk in model.astream(state["message"]):
                message = message + chunk
            if how == "rebuilt":
                return {"messages": [AIMessage(str(message.text))]}
            if how == "rebuilt chunk":
                return {"messages": [AIMessageChunk(content=str(message.text))]}
            return {"messages": [message]}

        return chain(("answer", answer, SPEAKS))

    return build


def nested(llm: LLMClientPort) -> Any:
    """Generators three deep, the model called in a task of its own."""

    async def one() -> AsyncGenerator[str, None]:
        async with aclosing(llm.stream("deep")) as texts:
            async for text in texts:
                yield text

    async def two() -> AsyncGenerator[str, None]:
        async with aclosing(one()) as texts:
            async for text in texts:
                yield text

    async def answer(state: State) -> dict[str, str]:
        return {"answer": await asyncio.create_task(joined(two()))}

    return chain(("answer", answer, SPEAKS))


def subgraph(llm: LLMClientPort) -> Any:
    inner = chain(("think", noting(llm, "think"), {}), ("say", streaming(llm), SPEAKS)).compile(
        name="outer"
    )
    return chain(("outer", inner, SPEAKS))


def own_graph(llm: LLMClientPort) -> Any:
    """A graph that a speaking node runs by itself: its work is the node's."""
    agent = chain(("agent", streaming(llm), {})).compile()

    async def answer(state: State) -> dict[str, str]:
        return {"answer": (await agent.ainvoke({"message": state["message"]}))["answer"]}

    return chain(("answer", answer, SPEAKS))


def writing(llm: LLMClientPort) -> Any:
    """Raw tokens by the stream writer, side by side; a silent node's writer is silent too."""

    def writer(words: list[str]) -> Node:
        async def write(state: State) -> dict[str, list[str]]:
            tell = get_stream_writer()
            for word in words:
                tell({"token": word})
                tell({"something": "else"})
                await asyncio.sleep(0)
            return {"notes": words}

        return write

    return beside(
        ("one", writer(["a", "b"]), SPEAKS),
        ("two", writer(["c", "d"]), SPEAKS),
        ("mute", writer([]), {}),
    )


def rewritten(answer: str) -> Build:
    def build(llm: LLMClientPort) -> Any:
        async def rewrite(state: State) -> dict[str, str]:
            return {"answer": answer}

        return chain(("draft", streaming(llm), SPEAKS), ("rewrite", rewrite, {}))

    return build


def checkpointed(saver: Any) -> Build:
    """Its answer counts the messages in its state, which only a thread used twice would add up."""

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            said = await joined(llm.stream(state["message"]))
            return {"answer": f"{said} of {len(state['messages'])}"}

        return chain(("answer", answer, SPEAKS)).compile(checkpointer=saver)

    return build
