"""Which requests of the SDK are taken, which pass through, and what is put back in the end."""

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai._models import FinalRequestOptions
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from sluice.domain.errors import AnswerTooLarge
from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor

from .conftest import Run
from .scripted import STOP, chunk, sse

CHUNK_TIMEOUT = "LANGCHAIN_OPENAI_STREAM_CHUNK_TIMEOUT_S"
ASKED: dict[str, Any] = {"model": "m", "messages": []}
MESSAGE = {"role": "assistant", "content": "ab"}
WHOLE = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
}
EVENTS = {"content-type": "text/event-stream"}
RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": []}


class Upstream:
    """Answers what it is asked; refuses to be asked for usage, if told so."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.refuses_usage = False

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(body := request.content)
        if self.refuses_usage and b"stream_options" in body:
            return httpx2.Response(422, json={"error": {"message": "stream_options?"}})
        if b'"stream":true' in body.replace(b" ", b""):
            events = sse(chunk({"content": "a"}), STOP)
            return httpx2.Response(
                200, content=events, headers={"content-type": "text/event-stream"}
            )
        return httpx2.Response(200, json=RESPONSE if "responses" in request.url.path else WHOLE)

    async def answer_later(self, request: httpx2.Request) -> httpx2.Response:
        return self.answer(request)

    def http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer_later))

    def http_sync(self) -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(self.answer))

    def client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url="http://upstream/v1", api_key="x", http_client=self.http())

    def client_sync(self) -> OpenAI:
        return OpenAI(base_url="http://upstream/v1", api_key="x", http_client=self.http_sync())

    def chat_model(self, **options: Any) -> ChatOpenAI:
        return ChatOpenAI(
            base_url="http://upstream/v1",
            api_key=SecretStr("x"),
            model="m",
            http_client=self.http_sync(),
            http_async_client=self.http(),
            **options,
        )


@pytest.fixture
def upstream(no_settings: None) -> Upstream:
    return Upstream()


@pytest.fixture
async def instrument(
    no_settings: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., OpenAIInstrumentor]]:
    monkeypatch.delenv(CHUNK_TIMEOUT, raising=False)
    made: list[OpenAIInstrumentor] = []

    def instrument(*given: Any, **options: Any) -> OpenAIInstrumentor:
        made.append(OpenAIInstrumentor(*given, **options))
        made[-1].instrument()
        return made[-1]

    yield instrument
    for one in reversed(made):
        await one.uninstrument()


Instrument = Callable[..., OpenAIInstrumentor]


@pytest.mark.parametrize(
    ("path", "cast_to", "body"),
    [
        ("/chat/completions", ChatCompletion, ASKED),
        ("/chat/completions/", ChatCompletion, ASKED),
        ("/openai/v1/chat/completions", ChatCompletion, ASKED),
        ("/responses", Response, {"model": "m", "input": "?"}),
        ("/responses/", Response, {"model": "m", "input": "?"}),
    ],
)
async def test_both_apis_are_taken(
    path: str, cast_to: Any, body: Any, upstream: Upstream, run: Run
) -> None:
    answer = await upstream.client().post(path, cast_to=cast_to, body=body)
    assert type(answer) is cast_to
    assert run.teller.ends == [(None, "stop")]
    assert type(upstream.client_sync().post(path, cast_to=cast_to, body=body)) is cast_to
    assert run.teller.ends == [(None, "stop")] * 2


@pytest.mark.parametrize(
    ("path", "cast_to", "body", "options"),
    [
        ("/embeddings", CreateEmbeddingResponse, ASKED, {}),
        ("/completions", ChatCompletion, ASKED, {}),
        ("/responses/r/cancel", Response, ASKED, {}),
        ("/chat/completions", object, ASKED, {}),
        ("/chat/completions", ChatCompletion, None, {}),
        ("/chat/completions", ChatCompletion, [1], {}),
        ("/chat/completions", ChatCompletion, ASKED, {"stream_mode": "events"}),
    ],
)
async def test_what_is_none_of_our_business_passes_through(
    path: str, cast_to: Any, body: Any, options: Any, upstream: Upstream, run: Run
) -> None:
    for client in (upstream.client(), upstream.client_sync()):
        answer: Any = client.post(path, cast_to=cast_to, body=body, options=options)
        assert await answer if isinstance(client, AsyncOpenAI) else answer
    assert (run.teller.ends, len(upstream.asked)) == ([], 2)


async def test_outside_a_job_and_after_the_service_nothing_is_taken(
    upstream: Upstream, instrument: Instrument
) -> None:
    instrumentor = instrument()
    ours = AsyncOpenAI.request, OpenAI.request

    async def streamed() -> list[type]:
        asynchronous = await upstream.client().chat.completions.create(**ASKED, stream=True)
        synchronous = upstream.client_sync().chat.completions.create(**ASKED, stream=True)
        chunks = [one async for one in asynchronous] + list(synchronous)
        assert {type(one) for one in chunks} == {ChatCompletionChunk}
        return [type(asynchronous), type(synchronous)]

    assert await streamed() == [AsyncStream, Stream]
    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=ASKED)
    assert type(await upstream.client().request(ChatCompletion, options)) is ChatCompletion
    with Run().entered() as run:
        assert AsyncStream not in await streamed()
        await instrumentor.uninstrument()
        kinds = [AsyncStream, Stream]
        assert await streamed() == kinds
        both: tuple[Any, Any] = (AsyncOpenAI, OpenAI)
        for kind, patched in zip(both, ours, strict=True):
            kind.request = patched  # as who wraps it has kept it
            assert await streamed() == kinds
            del kind.request
    assert run.teller.ends == [(None, "stop")] * 2


async def test_a_stream_of_either_client_is_heard(upstream: Upstream, run: Run) -> None:
    async for one in await upstream.client().chat.completions.create(**ASKED, stream=True):
        assert type(one) is ChatCompletionChunk
    assert run.teller.said == ["a"]
    for one in upstream.client_sync().chat.completions.create(**ASKED, stream=True):
        assert type(one) is ChatCompletionChunk
    assert run.teller.said == ["a", "a"]
    assert run.teller.ends == [(None, "stop")] * 2


async def test_a_request_made_below_the_sdks_methods_is_whole(upstream: Upstream, run: Run) -> None:
    """Whoever calls `request` themselves need not say that they stream nothing."""
    options = FinalRequestOptions.construct(method="post", url="/chat/completions", json_data=ASKED)
    assert type(await upstream.client().request(ChatCompletion, options)) is ChatCompletion
    assert type(upstream.client_sync().request(ChatCompletion, options)) is ChatCompletion
    assert run.teller.ends == [(None, "stop")] * 2


async def test_a_merely_invoked_model_is_taken_and_no_other(
    upstream: Upstream, instrument: Instrument
) -> None:
    instrument()
    with Run(takes=True).entered() as run:
        assert (await upstream.chat_model(streaming=True).ainvoke("?")).text == "a"
        assert (len(run.taken), run.teller.said) == (1, ["a"])
        assert upstream.chat_model(streaming=True).invoke("?").text == "a"
        assert (len(run.taken), run.teller.said) == (2, ["a", "a"])
        await upstream.chat_model().ainvoke("?")
        upstream.chat_model().invoke("?")
    assert len(run.taken) == 2


async def test_a_server_that_refuses_to_be_asked_for_usage_is_known_by_all_calls(
    upstream: Upstream, run: Run
) -> None:
    upstream.refuses_usage = True
    model = upstream.chat_model(streaming=True)
    for _ in range(2):
        await model.ainvoke("?")
    assert ["stream_options" in str(body) for body in upstream.asked] == [True, False, False]


async def test_the_limits_are_the_settings(upstream: Upstream, instrument: Instrument) -> None:
    instrument(Limits(max_answer=1))
    with Run().entered():
        with pytest.raises(AnswerTooLarge):
            await upstream.client().chat.completions.create(**ASKED)
        with pytest.raises(AnswerTooLarge):
            upstream.client_sync().chat.completions.create(**ASKED)


async def test_a_call_that_fails_before_its_answer_is_counted(run: Run) -> None:
    """And once it has failed the next one is taken again."""
    for n in (1, 2):
        async with AsyncOpenAI(base_url="http://127.0.0.1:1", api_key="x", max_retries=0) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.chat.completions.create(**ASKED)
            assert "Aiohttp" in type(client._client._transport).__name__
        assert run.teller.ends == [(None, None)] * n
    sync_client = OpenAI(base_url="http://127.0.0.1:1", api_key="x", max_retries=0)
    with sync_client, pytest.raises(openai.APIConnectionError):
        sync_client.chat.completions.create(**ASKED)
    assert run.teller.ends == [(None, None)] * 3


async def test_clients_get_their_own_transport_back(instrument: Instrument) -> None:
    instrumentor = instrument()
    client = AsyncOpenAI(base_url="http://127.0.0.1:1", api_key="x", max_retries=0)
    before = client._client._transport
    with Run().entered(), pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(**ASKED)
    assert client._client._transport is not before
    await instrumentor.uninstrument()
    assert client._client._transport is before
    await client.close()


async def test_two_services_take_a_call_once(upstream: Upstream, instrument: Instrument) -> None:
    instrument()
    instrument()
    with Run().entered() as run:
        await upstream.client().chat.completions.create(**ASKED)
        upstream.client_sync().chat.completions.create(**ASKED)
    assert run.teller.ends == [(None, "stop")] * 2


class Wrapper:
    """What somebody else puts over the method: any descriptor, which is told class and object."""

    def __init__(self, method: Any) -> None:
        self.method, self.owners = method, list[type]()

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is not None:
            self.owners.append(owner)
        return self.method.__get__(instance, owner)


@pytest.mark.parametrize("kind", [AsyncOpenAI, OpenAI])
async def test_what_others_put_there_before_us_is_asked_and_put_back(
    kind: Any, upstream: Upstream, instrument: Instrument, spans: InMemorySpanExporter
) -> None:
    """They may tell a tracer of the call: it is a span of ours only where nobody else stands."""
    kind.request = wrapper = Wrapper(vars(kind.__mro__[1])["request"])
    try:
        instrumentor = instrument()
        with Run().entered() as run:
            await upstream.client().chat.completions.create(model="AsyncOpenAI", messages=[])
            upstream.client_sync().chat.completions.create(model="OpenAI", messages=[])
        assert len(run.teller.ends) == 2
        assert wrapper.owners == [kind]
        (span,) = spans.get_finished_spans()
        assert span.name != f"chat {kind.__name__}"
        await instrumentor.uninstrument()
        assert vars(kind)["request"] is wrapper
    finally:
        del kind.request


@pytest.mark.parametrize("kind", [AsyncOpenAI, OpenAI])
async def test_what_others_put_there_after_us_stays(
    kind: Any, upstream: Upstream, instrument: Instrument
) -> None:
    instrumentor = instrument()
    kind.request = wrapper = Wrapper(vars(kind)["request"])
    try:
        await instrumentor.uninstrument()
        assert vars(kind)["request"] is wrapper
        with Run().entered() as run:
            await upstream.client().chat.completions.create(**ASKED)
            upstream.client_sync().chat.completions.create(**ASKED)
        assert run.teller.ends == []
        await instrumentor.uninstrument()
    finally:
        del kind.request


async def test_nothing_is_left_behind(instrument: Instrument) -> None:
    before = AsyncOpenAI.request, OpenAI.request
    instrumentor = instrument()
    assert AsyncOpenAI.request is not before[0]
    assert OpenAI.request is not before[1]
    assert os.environ[CHUNK_TIMEOUT] == "0"
    await instrumentor.uninstrument()
    assert (AsyncOpenAI.request, OpenAI.request) == before
    assert not {"request"} & {*vars(AsyncOpenAI), *vars(OpenAI)}
    assert CHUNK_TIMEOUT not in os.environ


async def test_switched_off_it_does_nothing(instrument: Instrument) -> None:
    before = AsyncOpenAI.request, OpenAI.request
    instrumentor = instrument(enabled=False)
    assert (AsyncOpenAI.request, OpenAI.request) == before
    assert CHUNK_TIMEOUT not in os.environ
    await instrumentor.uninstrument()


async def test_a_timeout_of_the_users_stays(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    for theirs in ("7", ""):
        monkeypatch.setenv(CHUNK_TIMEOUT, theirs)
        await instrument().uninstrument()
        assert os.environ[CHUNK_TIMEOUT] == theirs
    monkeypatch.delenv(CHUNK_TIMEOUT)
    instrumentor = instrument()
    monkeypatch.setenv(CHUNK_TIMEOUT, "9")
    await instrumentor.uninstrument()
    assert os.environ[CHUNK_TIMEOUT] == "9"


async def test_a_client_that_is_not_known_is_told_of_and_the_other_is_heard(
    upstream: Upstream,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = AsyncOpenAI.__mro__[1]
    theirs: Any = vars(base)["request"]

    async def request(self: Any, cast_to: Any, options: Any, more: Any = None, **named: Any) -> Any:
        return await theirs(self, cast_to, options, **named)

    monkeypatch.setattr(base, "request", request)
    # What others have put over it says nothing of what is below.
    own: Any = vars(OpenAI.__mro__[1])["request"]
    over: Any = lambda *given, **named: own(*given, **named)  # noqa: E731
    monkeypatch.setattr(OpenAI, "request", over, raising=False)
    instrument()
    with Run().entered() as run:
        await upstream.client().chat.completions.create(**ASKED)
        assert run.teller.ends == []
        upstream.client_sync().chat.completions.create(**ASKED)
    assert run.teller.ends == [(None, "stop")]
    assert [record.args for record in caplog.records] == [("AsyncOpenAI",)]
