"""Whose call it is, told by the stack: asked where the request is sent, below LangChain's code."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import httpx2
import langchain_openai.chat_models.base as langchain_openai
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import Field, SecretStr

from sluice.infrastructure.openai_sdk.callers import Caller, caller, run_around

from .scripted import STOP, chunk, sse

MESSAGE = {"role": "assistant", "content": "{}"}
WHOLE = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}


class Upstream:
    """Answers every request, and keeps who made it."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.callers.append(caller())
        if b'"stream":true' not in request.content.replace(b" ", b""):
            return httpx2.Response(200, json=WHOLE)
        body = sse(chunk({"content": "{}"}), STOP)
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})

    async def answer_later(self, request: httpx2.Request) -> httpx2.Response:
        return self.answer(request)

    def model(self, kind: type[ChatOpenAI] = ChatOpenAI, **options: Any) -> ChatOpenAI:
        return kind(
            base_url="http://upstream/v1",
            api_key=SecretStr("x"),
            model="m",
            http_client=httpx2.Client(transport=httpx2.MockTransport(self.answer)),
            http_async_client=httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer_later)),
            **options,
        )

    @property
    def only(self) -> Caller:
        [only] = self.callers
        return only


@pytest.fixture
def upstream(no_settings: None) -> Upstream:
    return Upstream()


async def test_a_raw_call_is_nobodys(upstream: Upstream) -> None:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(upstream.answer_later))
    client = AsyncOpenAI(base_url="http://upstream/v1", api_key="x", http_client=http)
    await client.chat.completions.create(model="m", messages=[])
    assert upstream.only == Caller(None, None, plain=False, invoked=False)


@pytest.mark.parametrize("streams", [True, False])
async def test_who_is_invoked_is_a_model_with_a_run(upstream: Upstream, streams: bool) -> None:
    """`plain` only where its chunks are read."""
    model = upstream.model(streaming=streams)
    await model.ainvoke("Why?")
    found = upstream.only
    assert found.model is model
    assert found.run.run_id
    assert (found.plain, found.invoked) == (streams, streams)


async def test_who_is_invoked_in_a_thread_is_found_too(upstream: Upstream) -> None:
    model = upstream.model(streaming=True)
    await asyncio.to_thread(model.invoke, "Why?")
    found = upstream.only
    assert (found.model, found.plain, found.invoked) == (model, True, True)
    assert found.run.run_id


@pytest.mark.parametrize("sync", [True, False])
async def test_a_stream_is_plain_and_read_by_its_caller(upstream: Upstream, sync: bool) -> None:
    model = upstream.model()
    if sync:
        await asyncio.to_thread(lambda: list(model.stream("Why?")))
    else:
        assert [part async for part in model.astream("Why?")]
    found = upstream.only
    assert (found.model, found.plain, found.invoked) == (model, True, False)
    assert found.run.run_id


async def test_a_read_without_a_run_has_none(upstream: Upstream) -> None:
    model = upstream.model()
    assert [part async for part in model._astream([])]
    assert upstream.only == Caller(model, None, plain=True, invoked=False)


async def test_a_node_named_like_a_reader_is_no_model(upstream: Upstream) -> None:
    class Node:
        async def _astream(self, model: ChatOpenAI) -> None:
            await model.ainvoke("Why?")

        async def _agenerate(self) -> Caller:
            return caller()

    model = upstream.model(streaming=True)
    await Node()._astream(model)
    assert upstream.only.model is model
    assert await Node()._agenerate() == Caller()


class Shouting(ChatOpenAI):
    async def _astream(self, *given: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for part in super()._astream(*given, **options):
            yield part


class Converting(ChatOpenAI):
    def _convert_chunk_to_generation_chunk(self, *given: Any, **options: Any) -> Any:
        return super()._convert_chunk_to_generation_chunk(*given, **options)


class Own(ChatOpenAI):
    """Asks by itself, with langchain-openai's client."""

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        await self.async_client.create(model="m", messages=[])
        yield ChatGenerationChunk(message=AIMessageChunk(content="a"))


@pytest.mark.parametrize(
    ("kind", "plain", "invoked"),
    [
        (ChatOpenAI, True, True),
        (Shouting, True, False),
        (Converting, False, False),
        (Own, False, False),
    ],
)
async def test_what_a_users_own_model_may_change_is_not_passed_over(
    upstream: Upstream, kind: type[ChatOpenAI], plain: bool, invoked: bool
) -> None:
    model = upstream.model(kind, streaming=True)
    await model.ainvoke("Why?")
    found = upstream.only
    assert found.model is model
    assert found.run.run_id
    assert (found.plain, found.invoked) == (plain, invoked)


async def test_where_a_format_is_parsed_chunks_are_the_sdks(upstream: Upstream) -> None:
    model = upstream.model(streaming=True)
    with suppress(ValueError):  # what LangChain makes of so short an answer is not asked here
        await model.ainvoke("Why?", response_format={"type": "json_object"})
    assert not upstream.only.plain


@pytest.mark.parametrize("missing", ["BaseChatOpenAI", None])
async def test_a_langchain_that_is_not_known_is_given_objects(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    model = upstream.model(streaming=True)
    if missing is None:
        monkeypatch.delitem(sys.modules, langchain_openai.__name__)
    else:
        monkeypatch.delattr(langchain_openai, missing)
    await model.ainvoke("Why?")
    assert (upstream.only.model, upstream.only.plain) == (model, False)


async def test_without_the_method_that_converts_chunks_they_are_objects(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_convert_chunk_to_generation_chunk"
    model = upstream.model(streaming=True)
    monkeypatch.delattr(langchain_openai.BaseChatOpenAI, name)
    with pytest.raises(AttributeError, match=name):
        await model.ainvoke("Why?")
    assert (upstream.only.model, upstream.only.plain) == (model, False)


async def without_a_payload(
    self: Any, messages: Any, *_: Any, **__: Any
) -> AsyncIterator[ChatGenerationChunk]:
    assert isinstance({"model": "m"}, dict)
    await self.async_client.create(model="m", messages=[])
    yield ChatGenerationChunk(message=AIMessageChunk(content="a"))


async def without_dicts(
    self: Any, messages: Any, *_: Any, **__: Any
) -> AsyncIterator[ChatGenerationChunk]:
    payload = {"model": "m", "messages": messages[:0]}
    await self.async_client.create(**payload)
    yield ChatGenerationChunk(message=AIMessageChunk(content="a"))


@pytest.mark.parametrize("reader", [without_a_payload, without_dicts])
async def test_a_reader_that_is_not_known_is_given_objects(
    reader: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.__code__ = reader.__code__.replace(co_name="_astream")
    monkeypatch.setattr(langchain_openai.BaseChatOpenAI, "_astream", reader)
    model = upstream.model(streaming=True)
    await model.ainvoke("Why?")
    assert (upstream.only.model, upstream.only.plain) == (model, False)


class Wrapping(ChatOpenAI):
    """Reads another model below LangChain."""

    inner: Any

    async def _astream(self, *given: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for part in self.inner._astream(*given, **options):
            yield part


async def test_a_model_has_no_run_where_only_whoever_reads_it_has_one(upstream: Upstream) -> None:
    inner = upstream.model()
    await upstream.model(Wrapping, inner=inner, streaming=True).ainvoke("Why?")
    assert upstream.only == Caller(inner, None, plain=True, invoked=False)


class Asking(GenericFakeChatModel):
    """A model of somebody else's, whose stream is read with a client of its own."""

    found: list[Caller] = Field(default_factory=list)

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        self.found.append(caller())
        yield ChatGenerationChunk(message=AIMessageChunk(content="a"))


def test_somebody_elses_model_is_never_plain() -> None:
    model = Asking(messages=iter([]))
    list(model.stream("Why?"))
    [found] = model.found
    assert (found.model, found.plain, found.invoked) == (model, False, False)
    assert found.run.run_id


class Around(GenericFakeChatModel):
    """Keeps the run in which another model would begin."""

    found: list[UUID | None] = Field(default_factory=list)

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        return self.look()

    def look(self) -> ChatResult:
        self.found.append(run_around())
        return ChatResult(generations=[ChatGeneration(message=AIMessage("a"))])

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        self.found.append(run_around())
        yield ChatGenerationChunk(message=AIMessageChunk(content="a"))


class Unnamed(Around):
    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return self.look()


class Starts(BaseCallbackHandler):
    def __init__(self) -> None:
        self.runs: list[UUID | None] = []

    def on_chat_model_start(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self.runs.append(run_id)


@pytest.mark.parametrize("kind", [Around, Unnamed])
async def test_the_run_around_is_that_of_the_model_that_reads(kind: type[Around]) -> None:
    """In a thread no caller says whose it is; the model does, if it takes its run by that name."""
    model, starts = kind(messages=iter([])), Starts()
    config: Any = {"callbacks": [starts]}
    model.invoke("Why?", config)
    list(model.stream("Why?", config))
    assert (len(starts.runs), model.found) == (2, starts.runs)
    await model.ainvoke("Why?", config)
    assert model.found[2:] == ([None] if kind is Unnamed else starts.runs[2:])


class AroundOpenAI(ChatOpenAI):
    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(str(run_around())))])


def test_so_it_is_of_a_model_made_of_langchain_openais(upstream: Upstream) -> None:
    starts = Starts()
    said = upstream.model(AroundOpenAI).invoke("Why?", {"callbacks": [starts]})
    assert [said.content] == [str(run) for run in starts.runs]


def test_outside_of_a_model_no_run_is_around() -> None:
    assert run_around() is None
