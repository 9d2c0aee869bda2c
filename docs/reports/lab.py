"""What the experiments share: a model on a socket, two ways to call it, two ways to listen.

Only the upstream is ours to script; LangGraph, LangChain, the SDK and the socket are real.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from openai import AsyncOpenAI

from sluice.application.ports import PipelinePort
from sluice.domain.chat import Job, Question
from sluice.domain.events import Event
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.offline_model.replies import Gate, Reply
from sluice.offline_model.server import OfflineModel
from tests.doubles import happening

PIECES = ("Open ", "the ", "gate", ".")
Experiment = Callable[[], Coroutine[Any, Any, str]]
Node = Callable[..., Any]


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    answer: str


@dataclass(frozen=True, slots=True)
class Lab:
    """`sdk` and `chat` call the same `upstream`: the first by itself, the second inside LangChain.

    Whatever is asked, the answer is PIECES, unless `reply` ordered another one.
    """

    upstream: OfflineModel
    completions: ChatCompletions
    sdk: AsyncOpenAI
    chat: LangChainOpenAIRunnable

    def reply(self, prompt: str, *pieces: str) -> None:
        """The answer to every call whose last message is `prompt`."""
        self.upstream.script_when(
            lambda body: body["messages"][-1]["content"] == prompt, Reply(pieces)
        )

    def hold(self, *, after: int) -> Gate:
        """Every call from now on says that many pieces and then waits at this gate."""
        gate = Gate()
        self.upstream.script_when(lambda _: True, Reply(PIECES, hold_after=after, gate=gate))
        return gate

    async def raw(self, prompt: str = "Why?") -> AsyncGenerator[str, None]:
        """As the incident had it: the SDK, called inside a node."""
        stream = await self.sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=True
        )
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    if text := choice.delta.content:
                        yield text

    async def wrapped(self, prompt: str = "Why?") -> AsyncGenerator[str, None]:
        async with aclosing(self.chat.astream(prompt)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if text := chunk.text:
                    yield text


@asynccontextmanager
async def a_lab() -> AsyncIterator[Lab]:
    async with OfflineModel(pace=0) as upstream:
        upstream.script_when(lambda _: True, Reply(PIECES))
        completions = ChatCompletions(Upstream(upstream.base_url, "none", "m"))
        async with AsyncOpenAI(base_url=upstream.base_url, api_key="none") as sdk:
            yield Lab(upstream, completions, sdk, LangChainOpenAIRunnable(completions=completions))
        await completions.aclose()


async def joined(texts: AsyncGenerator[str, None]) -> str:
    async with aclosing(texts):
        return "".join([text async for text in texts])


def chain(*nodes: tuple[str, Node]) -> StateGraph[State]:
    """The nodes one after the other; the one called `answer` speaks, which only Sluice reads."""
    graph = StateGraph(State)
    before = START
    for name, node in nodes:
        graph.add_node(name, node, metadata={"speaks": name == "answer"})
        graph.add_edge(before, name)
        before = name
    return graph


def beside(*nodes: tuple[str, Node]) -> StateGraph[State]:
    graph = StateGraph(State)
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph


async def in_events(graph: StateGraph[State]) -> list[str]:
    """The texts that chat-model events bring to a reader of `astream_events`."""
    events = graph.compile().astream_events({"message": "Why?"}, version="v2")
    chunks = [e["data"]["chunk"] async for e in events if e["event"] == "on_chat_model_stream"]
    return [chunk.text for chunk in chunks if chunk.text]


async def in_modes(
    graph: StateGraph[State], *modes: Literal["messages", "custom"], subgraphs: bool = False
) -> list[str]:
    """The texts that a reader of `astream` is given: of messages, and those written as tokens."""
    asked: Any = {"message": "Why?"}
    parts: AsyncIterator[Any] = graph.compile().astream(
        asked, stream_mode=list(modes), subgraphs=subgraphs, version="v2"
    )
    told = [(part["type"], part["data"]) async for part in parts]
    texts = [data["token"] if mode == "custom" else data[0].text for mode, data in told]
    return [text for text in texts if text]


def in_sluice(pipeline: PipelinePort) -> AsyncGenerator[Event, None]:
    """What Sluice's use case would be told; it is the only one to publish it."""
    return happening(pipeline, Question(Job("job", "chat", "ann", "A2", "Why?", "request"), ()))


def table(*rows: Sequence[object]) -> str:
    """Columns as wide as they need; the first row is the header."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in texts]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def show(experiment: Experiment) -> None:
    """What `python -m docs.reports.…` does. Bounded: nothing here may hang a test run."""
    sys.stdout.write(asyncio.run(asyncio.wait_for(experiment(), 30)) + "\n")
