"""A user's own clients in a graph, on every path: told once, counted, judged, mended, muted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from sluice.application.heard_calls import silent
from sluice.domain.errors import ChatError, UpstreamError, UpstreamRateLimited, UpstreamTruncated
from sluice.domain.events import Reset, StageStarted, Token
from sluice.offline_model import Fault, Gate, Reply

from .conftest import Path, Told

PIECES = ["무색", " 페트병은", " 👩‍👩‍👧‍👦"]
TEXT = "".join(PIECES)


class State(TypedDict, total=False):
    message: str
    answer: str


pytestmark = pytest.mark.usefixtures("instrumented")


def asked(stream: bool = True) -> Any:
    return {
        "model": "m",
        "messages": [{"role": "user", "content": "Why?"}],
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }


class Clients:
    """The ways in which nodes make an answer; each returns it."""

    def __init__(self, sdk: AsyncOpenAI, sync: OpenAI) -> None:
        self.sdk, self._sync = sdk, sync
        url = str(sdk.base_url)
        self.chat = ChatOpenAI(model="m", api_key=SecretStr("x"), base_url=url, max_retries=0)

    async def raw(self) -> str:
        return "".join([text async for text in pieces_of(self, "raw")])

    async def raw_written_by_hand(self) -> str:
        said, write = "", get_stream_writer()
        async for chunk in await self.sdk.chat.completions.create(**asked()):
            for choice in chunk.choices:
                write({"token": choice.delta.content or ""})
                said += choice.delta.content or ""
        return said

    async def raw_written_at_the_end(self) -> str:
        said = await self.raw()
        get_stream_writer()({"token": said})
        return said

    async def raw_at_once(self) -> str:
        completion = await self.sdk.chat.completions.create(**asked(stream=False))
        return str(completion.choices[0].message.content)

    async def raw_in_a_thread(self) -> str:
        def ask() -> str:
            chunks = self._sync.chat.completions.create(**asked())
            return "".join(c.delta.content or "" for each in chunks for c in each.choices)

        return await asyncio.to_thread(ask)

    async def ainvoke(self) -> str:
        return (await self.chat.ainvoke("Why?")).text

    async def astream(self) -> str:
        return "".join([chunk.text async for chunk in self.chat.astream("Why?")])

    async def astream_written_by_hand(self) -> str:
        said, write = "", get_stream_writer()
        async for chunk in self.chat.astream("Why?"):
            write({"token": chunk.text})
            said += chunk.text
        return said

    async def ainvoke_written_at_the_end(self) -> str:
        said = await self.ainvoke()
        get_stream_writer()({"token": said})
        return said

    async def invoke_in_a_thread(self) -> str:
        return (await asyncio.to_thread(self.chat.invoke, "Why?")).text

    async def others_callbacks(self) -> str:
        return (await self.chat.ainvoke("Why?", {"callbacks": []})).text


async def pieces_of(clients: Clients, way: str) -> AsyncGenerator[str, None]:
    """What the node gets, piece by piece if it does."""
    match way:
        case "raw":
            async for chunk in await clients.sdk.chat.completions.create(**asked()):
                for choice in chunk.choices:
                    yield choice.delta.content or ""
        case "astream":
            async for each in clients.chat.astream("Why?"):
                yield each.text
        case _:
            yield await clients.ainvoke()


WAYS = [name for name in vars(Clients) if not name.startswith("_")]
AT_ONCE = {"raw_at_once", "others_callbacks"}


@pytest.fixture
async def clients(path: Path) -> AsyncIterator[Clients]:
    url: Any = {"base_url": path.model.base_url, "api_key": "x", "max_retries": 0}
    with OpenAI(**url) as sync:
        async with AsyncOpenAI(**url) as sdk:
            yield Clients(sdk, sync)


def build(clients: Clients, *ways: str, speaks: bool = True) -> Callable[..., Any]:
    """One node that makes its answer of what the ways give, in turn."""

    async def answer(state: State) -> State:
        return {"answer": "".join([await getattr(clients, way)() for way in ways])}

    def graph(llm: Any) -> Any:
        node: Any = StateGraph(State).add_node("answer", answer, metadata={"speaks": speaks})
        return node.add_edge(START, "answer")

    return graph


def said(told: Told) -> list[str]:
    return [token.content for token in told.tokens]


async def test_an_answer_is_told_once_and_counted_whoever_makes_it(
    path: Path, clients: Clients
) -> None:
    for way in WAYS:
        path.model.script(Reply(pieces=PIECES))
        told = await path.tell(build(clients, way))
        assert (way, told.done.answer, told.done.finish_reason) == (way, TEXT, "stop")
        assert told.done.usage is not None
        assert (way, told.done.usage.output_tokens) == (way, 3)
        if path.speaks:
            assert (way, said(told)) == (way, [TEXT] if way in AT_ONCE else PIECES)


@pytest.mark.parametrize("written", ["not", "by chunk", "at the end"])
@pytest.mark.parametrize("way", ["raw", "astream", "ainvoke"])
async def test_an_answer_that_its_node_rewrites_is_told_anew_once(
    way: str, written: str, path: Path, clients: Clients
) -> None:
    """And what the node writes of it meanwhile is not told beside what was heard."""

    async def answer(state: State) -> State:
        write, said = get_stream_writer(), ""
        async for text in pieces_of(clients, way):
            said += text
            if written == "by chunk":
                write({"token": text.upper()})
        if written == "at the end":
            write({"token": said.upper()})
        return {"answer": said.upper()}

    path.model.script(Reply(pieces=["he", "llo ", "there"]))
    told = await path.tell(
        lambda llm: (
            StateGraph(State)
            .add_node("answer", answer, metadata={"speaks": True})
            .add_edge(START, "answer")
        )
    )
    assert told.done.answer == "HELLO THERE"
    if path.speaks:
        spoken = [e for e in told.events if isinstance(e, Token | Reset)]
        whole = Token("HELLO THERE", "answer")
        heard = [Token(text, "answer") for text in ("he", "llo ", "there")]
        assert spoken == [*heard, Reset("revised"), whole]


async def test_a_silent_node_stays_silent_whoever_calls(path: Path, clients: Clients) -> None:
    for way in WAYS:
        path.model.script(Reply(pieces=PIECES))
        told = await path.tell(build(clients, way, speaks=False))
        assert (way, said(told)) == (way, [TEXT] if path.speaks else [])
        assert told.done.usage is not None


async def test_a_node_may_mix_them_all(path: Path, clients: Clients) -> None:
    ways = [way for way in WAYS if way not in AT_ONCE]
    path.model.script(*[Reply(pieces=[f"{way} ", "b "]) for way in ways])
    told = await path.tell(build(clients, *ways))
    assert told.done.answer == "".join(f"{way} b " for way in ways)
    if path.speaks:
        assert said(told) == [piece for way in ways for piece in (f"{way} ", "b ")]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(pieces=PIECES, finish_reason=None), UpstreamTruncated),
        (Reply(pieces=PIECES, finish_reason="abort"), UpstreamError),
        (Reply(fault=Fault.RATE_LIMITED), UpstreamRateLimited),
    ],
)
async def test_a_failure_has_its_code_whoever_asked(
    reply: Reply, expected: type[ChatError], path: Path, clients: Clients
) -> None:
    for way in WAYS:
        path.model.script(reply)
        with pytest.raises(expected):
            await path.tell(build(clients, way))


@pytest.mark.parametrize("way", ["raw", "astream", "ainvoke"])
async def test_a_muted_call_is_silent(way: str, path: Path, clients: Clients) -> None:
    async def answer(state: State) -> State:
        with silent():
            await getattr(clients, way)()
        return {"answer": await getattr(clients, way)()}

    path.model.script(Reply(pieces=["hidden"]), Reply(pieces=PIECES))
    told = await path.tell(
        lambda llm: (
            StateGraph(State)
            .add_node("answer", answer, metadata={"speaks": True})
            .add_edge(START, "answer")
        )
    )
    assert told.done.answer == TEXT
    if path.speaks:
        assert said(told) == PIECES


async def test_a_fallback_mends_what_was_cut(path: Path, clients: Clients) -> None:
    chat = clients.chat
    model = chat.with_fallbacks([chat])

    async def answer(state: State) -> State:
        return {"answer": (await model.ainvoke("Why?")).text}

    path.model.script(Reply(pieces=["half"], finish_reason=None), Reply(pieces=PIECES))
    told = await path.tell(
        lambda llm: (
            StateGraph(State)
            .add_node("answer", answer, metadata={"speaks": True})
            .add_edge(START, "answer")
        )
    )
    assert told.done.answer == TEXT


@pytest.mark.parametrize("way", [way for way in WAYS if way not in AT_ONCE])
async def test_a_cancelled_run_closes_the_upstream_whoever_asked(
    way: str, path: Path, clients: Clients
) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=PIECES, gate=gate, hold_after=1))
    async with path.running(build(clients, way)) as events:
        async for event in events:
            if isinstance(event, StageStarted):
                break
        await gate.reached()
    await path.model.until_idle(within=1)


async def test_who_else_listens_gets_each_chunk(path: Path, clients: Clients) -> None:
    pieces: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, **_: Any) -> None:
            pieces.append(token)

    model = clients.chat.model_copy(update={"callbacks": [Listener()]})

    async def answer(state: State) -> State:
        return {"answer": (await model.ainvoke("Why?")).text}

    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(
        lambda llm: (
            StateGraph(State)
            .add_node("answer", answer, metadata={"speaks": True})
            .add_edge(START, "answer")
        )
    )
    assert list(filter(None, pieces)) == PIECES
    if path.speaks:
        assert said(told) == PIECES


async def test_an_agent_with_a_tool_speaks_its_answer(path: Path, clients: Clients) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}"

    path.model.script(Reply.calling("weather", {"city": "Paju"}), Reply(pieces=PIECES))
    told = await path.tell(
        lambda llm: create_agent(clients.chat, [weather]), speaking=frozenset({"model"})
    )
    assert told.done.answer == TEXT
    assert told.done.usage is not None
    if path.speaks:
        assert said(told) == PIECES


async def test_a_graph_may_add_messages_of_a_model(path: Path, clients: Clients) -> None:
    async def answer(state: MessagesState) -> Any:
        return {"messages": [await clients.chat.ainvoke(state["messages"])]}

    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(
        lambda llm: (
            StateGraph(MessagesState)
            .add_node("answer", answer, metadata={"speaks": True})
            .add_edge(START, "answer")
        )
    )
    assert told.done.answer == TEXT
    assert all(isinstance(token, Token) for token in told.tokens)
