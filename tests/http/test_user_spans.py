"""Model calls of users' own clients as spans: below their node, counted once, no token held."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI, OpenAI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from sluice.infrastructure.openai_sdk.spans import span_of
from sluice.offline_model import Break, Gate, OfflineModel, Reply
from tests.http.whole import Whole, whole_service

pytestmark = pytest.mark.usefixtures("no_settings")
ASKED: dict[str, Any] = {"model": "mine", "messages": [{"role": "user", "content": "Why?"}]}
PIECES = ["무색 ", "페트병은 ", "따로"]


class State(TypedDict, total=False):
    message: str
    answer: str


class Clients:
    """The ways in which a node of a user's calls a model; each returns its text."""

    def __init__(self, url: str) -> None:
        self.sdk: Any = AsyncOpenAI(base_url=url, api_key="x", max_retries=0)
        self.sync: Any = OpenAI(base_url=url, api_key="x", max_retries=0)
        self.chat = ChatOpenAI(model="mine", api_key=SecretStr("x"), base_url=url, max_retries=0)

    async def streamed(self) -> str:
        said = ""
        options = {"include_usage": True}
        calls = self.sdk.chat.completions
        async for chunk in await calls.create(**ASKED, stream=True, stream_options=options):
            said += "".join(choice.delta.content or "" for choice in chunk.choices)
        return said

    async def whole(self) -> str:
        answer = await self.sdk.chat.completions.create(**ASKED)
        return str(answer.choices[0].message.content)

    async def invoked(self) -> str:
        return str((await self.chat.ainvoke([HumanMessage("Why?")])).text)

    async def chat_streamed(self) -> str:
        return "".join([str(one.text) async for one in self.chat.astream([HumanMessage("Why?")])])

    async def in_a_thread(self) -> str:
        def ask() -> str:
            calls = self.sync.chat.completions
            stream = calls.create(**ASKED, stream=True, stream_options={"include_usage": True})
            return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)

        return await asyncio.to_thread(ask)


WAYS: dict[str, Callable[[Clients], Awaitable[str]]] = {
    "raw SDK, streamed": Clients.streamed,
    "raw SDK, whole": Clients.whole,
    "raw SDK, in a thread": Clients.in_a_thread,
    "ChatOpenAI, invoked": Clients.invoked,
    "ChatOpenAI, streamed": Clients.chat_streamed,
}


def graph_of(way: Callable[[Clients], Awaitable[str]], url: str) -> Callable[..., Any]:
    clients = Clients(url)

    async def answer(state: State) -> State:
        assert state["message"] == "Why?"
        return {"answer": await way(clients)}

    def build(_: Any) -> Any:
        graph = StateGraph(State)
        graph.add_node("answer", answer, metadata={"speaks": True})
        return graph.add_edge(START, "answer")

    return build


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if (span.name or "").startswith(name)]


async def answered(service: Whole) -> str:
    """The whole stream of a question, as text."""
    accepts = {"Accept": "text/event-stream"}
    question = {"message": "Why?"}
    return (await service.client.post("/api/v1/chat", json=question, headers=accepts)).text


@pytest.mark.parametrize("streaming", ["true", "false"])
@pytest.mark.parametrize("how", WAYS)
async def test_a_users_call_is_one_span_below_its_node(
    spans: InMemorySpanExporter,
    model: OfflineModel,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    streaming: str,
) -> None:
    model.script(Reply(pieces=PIECES))
    build = graph_of(WAYS[how], model.base_url)
    settings = {"store": "memory://", "enable_token_streaming": streaming}
    async with whole_service(build, model, monkeypatch, **settings) as service:
        assert "event: done" in await answered(service)
    (call,), (node,) = named(spans, "chat "), named(spans, "node answer")
    assert call.name == "chat mine"
    assert node.context is not None
    assert (call.parent and call.parent.span_id) == node.context.span_id
    given = dict(call.attributes or {})
    assert given["gen_ai.request.model"] == "mine"
    assert given["gen_ai.usage.output_tokens"] == len(PIECES)
    assert given["gen_ai.response.finish_reasons"] == ("stop",)
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "Why?" not in told
    assert "페트병" not in told


async def test_its_tokens_come_while_the_span_is_open(
    spans: InMemorySpanExporter, model: OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    model.script(Reply(pieces=PIECES, hold_after=2, gate=gate))
    build = graph_of(Clients.invoked, model.base_url)
    async with whole_service(build, model, monkeypatch, store="memory://") as service:
        accepts = {"Accept": "text/event-stream"}
        question = {"message": "Why?"}
        request = service.client.stream("POST", "/api/v1/chat", json=question, headers=accepts)
        async with request as stream:
            told = ""
            async for line in stream.aiter_lines():
                told += line
                if PIECES[1] in line and "event: done" not in told:
                    assert named(spans, "chat ") == []
                    gate.release()
        assert "event: done" in told
    assert len(named(spans, "chat ")) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(pieces=["so", Break.RESET]), "upstream_disconnected"),
        (Reply(pieces=["so"], finish_reason=None), "upstream_truncated"),
    ],
)
@pytest.mark.parametrize(
    "how", ["raw SDK, streamed", "raw SDK, in a thread", "ChatOpenAI, invoked"]
)
async def test_a_call_that_fails_is_told_by_its_code(
    spans: InMemorySpanExporter,
    model: OfflineModel,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    reply: Reply,
    code: str,
) -> None:
    model.script(reply)
    build = graph_of(WAYS[how], model.base_url)
    async with whole_service(build, model, monkeypatch, store="memory://") as service:
        assert code in await answered(service)
    (call,) = named(spans, "chat ")
    assert (call.status.description, (call.attributes or {})["error.type"]) == (code, code)


@pytest.mark.parametrize(
    "others",
    [
        "opentelemetry.instrumentation.openai_v2",
        "openinference.instrumentation.langchain",
        "langfuse-sdk",
        "traceloop.tracer",
    ],
)
def test_what_another_instrumentation_tells_of_is_not_told_again(
    spans: InMemorySpanExporter, others: str
) -> None:
    assert span_of(ASKED, "new", alone=False) is None
    theirs = trace.get_tracer(others)
    with theirs.start_as_current_span("chat mine"):
        assert span_of(ASKED, "new", alone=True) is None
    with trace.get_tracer("a.users.own").start_as_current_span("work"):
        call = span_of(ASKED, "new", alone=True)
        assert call is not None
        call.end(None, None)
    assert [span.name for span in spans.get_finished_spans()] == ["chat mine", "chat mine", "work"]
    alone = span_of(ASKED, "new", alone=True)  # in nobody's span
    assert alone is not None
