"""What a first reader of `messages` and `updates` still gets wrong, beside Sluice's."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy

from docs.reports.lab import (
    Lab,
    Node,
    State,
    a_lab,
    chain,
    in_events,
    in_modes,
    in_sluice,
    joined,
    show,
    table,
)
from sluice.domain.events import Reset, Token
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.token_path import TokenPath

Build = Callable[[Lab], StateGraph[State]]
Read = Callable[[StateGraph[State]], Awaitable[list[str]]]


async def experiment() -> str:
    """Each graph is built anew for each reader: a node may count its tries."""
    async with a_lab() as lab:
        lab.reply("Classify", "secret")
        lab.reply("Why?", "to", "ld")
        rows = []
        for what, build, read in GRAPHS:
            given = (
                await read(build(lab)),
                await in_events(build(lab)),
                await _in_a2(build(lab)),
            )
            rows.append([what, *("|".join(texts) or "nothing" for texts in given)])
        return table(["the graph", "astream", "astream_events", "Sluice, A2"], *rows)


async def _in_a2(graph: StateGraph[State]) -> list[str]:
    told = []
    async for event in in_sluice(TokenPath(WatchedGraph(graph))):
        match event:
            case Token(content):
                told.append(content)
            case Reset():
                told.append("(reset)")
    return told


def _speaking(lab: Lab) -> Node:
    async def answer(_: State) -> State:
        return {"answer": await joined(lab.wrapped())}

    return answer


def _classified(lab: Lab) -> StateGraph[State]:
    async def classify(_: State) -> State:
        await lab.chat.ainvoke("Classify")
        return {}

    return chain(("classify", classify), ("answer", _speaking(lab)))


def _hushed(lab: Lab) -> StateGraph[State]:
    async def classify(_: State) -> State:
        await lab.chat.ainvoke("Classify", {"tags": ["nostream"]})
        return {}

    return chain(("classify", classify), ("answer", _speaking(lab)))


def _returned(lab: Lab) -> StateGraph[State]:
    async def answer(_: State) -> State:
        message = AIMessageChunk(content="")
        async for chunk in lab.chat.astream("Why?"):
            message = message + chunk
        return {"messages": [message]}

    return chain(("answer", answer))


def _rebuilt(lab: Lab) -> StateGraph[State]:
    async def answer(_: State) -> State:
        return {"messages": [AIMessage(await joined(lab.wrapped()))]}

    return chain(("answer", answer))


def _noted(lab: Lab) -> StateGraph[State]:
    async def note(_: State) -> State:
        return {"messages": [AIMessage("a note to myself")]}

    return chain(("note", note), ("answer", _speaking(lab)))


def _written(lab: Lab) -> StateGraph[State]:
    async def answer(_: State) -> State:
        write, said = get_stream_writer(), ""
        async for text in lab.wrapped():
            write({"token": text})
            said += text
        return {"answer": said}

    return chain(("answer", answer))


def _retried(lab: Lab) -> StateGraph[State]:
    tries: list[str] = []

    async def answer(_: State) -> State:
        tries.append(await joined(lab.wrapped()))
        if len(tries) == 1:
            raise ConnectionError
        return {"answer": tries[-1]}

    graph = StateGraph(State)
    retry = RetryPolicy(max_attempts=2, initial_interval=0.01)
    node: Any = answer
    graph.add_node("answer", node, metadata={"speaks": True}, retry_policy=retry)
    return graph.add_edge(START, "answer")


def _nested(lab: Lab) -> StateGraph[State]:
    inner: Any = chain(("answer", _speaking(lab))).compile()
    return chain(("outer", inner))


async def _messages(graph: StateGraph[State]) -> list[str]:
    return await in_modes(graph, "messages")


async def _messages_and_custom(graph: StateGraph[State]) -> list[str]:
    return await in_modes(graph, "messages", "custom")


async def _messages_of_subgraphs(graph: StateGraph[State]) -> list[str]:
    return await in_modes(graph, "messages", subgraphs=True)


GRAPHS: tuple[tuple[str, Build, Read], ...] = (
    ("a classifier runs first, by ainvoke", _classified, _messages),
    ("the same, tagged nostream", _hushed, _messages),
    ("a silent node adds a message to the state", _noted, _messages),
    ("the node returns the message it streamed", _returned, _messages),
    ("the node builds a message of its text", _rebuilt, _messages),
    ("the node also writes its text to custom", _written, _messages_and_custom),
    ("the node fails at its end and is tried again", _retried, _messages),
    ("the node is in a subgraph", _nested, _messages),
    ("the same, read with subgraphs=True", _nested, _messages_of_subgraphs),
)

if __name__ == "__main__":
    show(experiment)
