"""Only what shall be heard is heard: at once, and once. Every combination, as data.

A cell is a node that speaks or does not; somewhere in its work text is said, in one of the ways
in which text may be said. Where it is to be heard, the model (or the writer) says no second
piece before the user has the first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Send
from openai import AsyncOpenAI
from pydantic import SecretStr

from sluice.domain.events import Token
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Gate, Reply
from tests.doubles import ScriptedChatModel
from tests.paths import graphs
from tests.paths.conftest import Path, Told, question
from tests.paths.graphs import SPEAKS, State

Say = Callable[[], Awaitable[object]]
Voice = Literal["silent", "speaking", "by setting"]
Source = Literal["llm", "chat model", "writer", "raw SDK", "ChatOpenAI"]
OWN_THREAD: Any = {"configurable": {"thread_id": "t"}}
PIECES = ["ONE ", "TWO"]


@dataclass(frozen=True)
class Site:
    """Where in the cell's work the text is said: `build(say, metadata)` gives nodes or a graph.

    `node` is what its tokens name, `inner` the stages inside the cell.
    """

    build: Callable[[Say, dict[str, Any]], Any]
    node: str = "cell"
    inner: tuple[str, ...] = ()
    declared_inside: bool = False
    """The inner node has the voice, and the cell is a subgraph."""


def saying(say: Say) -> graphs.Node:
    async def inner(state: State) -> dict[str, list[str]]:
        await say()
        return {"notes": ["x"]}

    return inner


def in_node(say: Say, metadata: dict[str, Any]) -> Any:
    return graphs.chain(("cell", saying(say), metadata))


def awaiting(run: Callable[[Say], Callable[[], Awaitable[object]]]) -> Any:
    """A cell that awaits what `run` makes of the saying."""

    def build(say: Say, metadata: dict[str, Any]) -> Any:
        return in_node(run(say), metadata)

    return build


def child(say: Say, config: Any = None, *, name: str = "inner") -> Callable[[], Awaitable[object]]:
    """A graph run by hand; its node declares that it speaks, which decides nothing."""
    graph = graphs.chain((name, saying(say), SPEAKS)).compile()
    return lambda: graph.ainvoke({"message": "x"}, config)


def a_task(say: Say) -> Callable[[], Awaitable[object]]:
    @task
    async def inner() -> object:
        await say()
        return "x"

    return lambda: inner()


def an_entrypoint(say: Say) -> Callable[[], Awaitable[object]]:
    @entrypoint()
    async def inner(question: str) -> str:
        await say()
        return question

    return lambda: inner.ainvoke("x", OWN_THREAD)


def deep(say: Say) -> Callable[[], Awaitable[object]]:
    """Two graphs deep, each with a thread of its own, all nodes called alike."""
    return child(child(say, OWN_THREAD, name="cell"), OWN_THREAD, name="cell")


def gathered(say: Say) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.gather(say(), asyncio.sleep(0))


def in_chain(say: Say) -> Callable[[], Awaitable[object]]:
    async def run(_: object) -> object:
        return await say()

    lcel = RunnableLambda(lambda x: x) | RunnableLambda(run)
    return lambda: lcel.ainvoke("x")


def tool_of(say: Say, name: str) -> StructuredTool:
    async def look() -> str:
        await say()
        return "looked"

    return StructuredTool.from_function(coroutine=look, name=name, description="Looks.")


def calling(name: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {}, "id": "1"}])


def tools(say: Say, metadata: dict[str, Any]) -> Any:
    async def call(state: State) -> dict[str, list[AIMessage]]:
        return {"messages": [calling("outer")]}

    return graphs.chain(("call", call, {}), ("cell", ToolNode([tool_of(say, "outer")]), metadata))


def agent_in_tool(config: Any) -> Any:
    def build(say: Say, metadata: dict[str, Any]) -> Any:
        model = ScriptedChatModel(says=[calling("deep"), AIMessage("")])
        agent: Any = create_agent(model, [tool_of(say, "deep")])
        return tools(lambda: agent.ainvoke({"messages": [("user", "x")]}, config), metadata)

    return build


def subgraph(say: Say, metadata: dict[str, Any]) -> Any:
    return graphs.chain(("cell", graphs.chain(("inner", saying(say), metadata)).compile(), {}))


def sent(say: Say, metadata: dict[str, Any]) -> Any:
    graph = StateGraph(State).add_node("cell", saying(say), metadata=metadata)
    return graph.add_conditional_edges(START, lambda s: Send("cell", s), ["cell"])


SITES = {
    "node": Site(in_node),
    "gather": Site(awaiting(gathered)),
    "LCEL chain": Site(awaiting(in_chain)),
    "tool": Site(tools),
    "task": Site(awaiting(a_task), "cell/inner", ("inner",)),
    "entrypoint": Site(awaiting(an_entrypoint), "cell/inner", ("inner",)),
    "own graph": Site(awaiting(child), "cell/inner", ("inner",)),
    "own graph and thread": Site(
        awaiting(lambda say: child(say, OWN_THREAD)), "cell/inner", ("inner",)
    ),
    "two deep": Site(awaiting(deep), "cell/cell/cell", ("cell", "cell/cell")),
    "subgraph": Site(subgraph, "cell/inner", ("inner",), declared_inside=True),
    "Send": Site(sent),
    "agent in a tool": Site(agent_in_tool(None), "cell/tools", ("model", "tools")),
    "agent and thread in a tool": Site(agent_in_tool(OWN_THREAD), "cell/tools", ("model", "tools")),
}


@dataclass
class Speech:
    """Says two pieces in one of three ways; the second when `go_on` was called, if `held`."""

    path: Path
    source: Source
    held: bool
    gate: Gate = field(default_factory=Gate)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        gate = self.gate if self.held else None
        self.path.model.script(Reply(pieces=PIECES, hold_after=1, gate=gate))

    def by(self, llm: LLMClientPort) -> Say:
        async def write() -> None:
            writer = get_stream_writer()
            writer({"token": PIECES[0]})
            if self.held:
                async with asyncio.timeout(5):
                    await self.released.wait()
            writer({"token": PIECES[1]})

        ways: dict[Source, Say] = {
            "llm": lambda: graphs.joined(llm.stream("say")),
            "chat model": lambda: self.path.chat_model().ainvoke("say"),
            "writer": write,
            "raw SDK": self._raw,
            "ChatOpenAI": lambda: self._chat_openai().ainvoke("say"),
        }
        return ways[self.source]

    async def _raw(self) -> None:
        """Leaves the text to whoever hears the client."""
        async with AsyncOpenAI(base_url=self.path.model.base_url, api_key="x") as client:
            said: Any = [{"role": "user", "content": "say"}]
            create = client.chat.completions.create
            async with await create(model="m", messages=said, stream=True) as chunks:
                async for _ in chunks:
                    pass

    def _chat_openai(self) -> ChatOpenAI:
        url = self.path.model.base_url
        return ChatOpenAI(model="m", api_key=SecretStr("x"), base_url=url, max_retries=0)

    def go_on(self) -> None:
        self.gate.release()
        self.released.set()


@pytest.mark.parametrize("source", get_args(Source))
@pytest.mark.usefixtures("instrumented")
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("voice", ["silent", "speaking", "by setting"])
async def test_a_cell_is_heard_at_once_and_once_or_never(
    path: Path, voice: Voice, site: str, source: Source
) -> None:
    heard, place = path.speaks and voice != "silent", SITES[site]
    speech = Speech(path, source, held=heard)

    def build(llm: LLMClientPort) -> Any:
        graph = place.build(speech.by(llm), SPEAKS if voice == "speaking" else {})
        said = "done" if voice == "silent" else "".join(PIECES)
        graph.add_node("end", lambda s: {"answer": said})
        return graph.add_edge("cell", "end")

    named = place.node if place.declared_inside else "cell"
    speaking = frozenset({named} if voice == "by setting" else ())
    told = Told()
    async with asyncio.timeout(10), path.running(build, question(), speaking=speaking) as events:
        async for event in events:
            told.events.append(event)
            if isinstance(event, Token):
                speech.go_on()
    spoken = [(piece, place.node) for piece in PIECES] if heard else []
    if path.speaks and voice == "silent":
        spoken = [("done", "")]
    assert [(token.content, token.node) for token in told.tokens] == spoken
    stages = {"cell", *(f"cell/{inner}" for inner in place.inner)}
    assert {stage[1:] for stage in told.stages} - {"call", "end"} == stages
    assert sorted(s[1:] for s in told.stages if s[0] == "+") == sorted(
        s[1:] for s in told.stages if s[0] == "-"
    )
