"""What every kind of client raises, by way of everything that may stand around it, and its code."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import openai
import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from openai import AsyncOpenAI, OpenAI

from sluice.domain.errors import UpstreamRateLimited
from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.openai_sdk.failures import classify
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model import Fault, OfflineModel, Reply

from .conftest import Run, chat_model
from .scripted import Answer, ScriptedServer, sse

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
Ask = Callable[[str], Awaitable[Any]]


async def raw(base_url: str) -> None:
    async with (
        AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client,
        await client.chat.completions.create(**ASKED, stream=True) as chunks,
    ):
        async for _ in chunks:
            pass


async def raw_sync(base_url: str) -> None:
    def ask() -> None:
        with OpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
            for _ in client.chat.completions.create(**ASKED, stream=True):
                pass

    await asyncio.to_thread(ask)


async def astream(base_url: str) -> None:
    async for _ in chat_model(base_url).astream("Why?"):
        pass


async def ainvoke(base_url: str) -> None:
    await chat_model(base_url, streaming=True).ainvoke("Why?")


async def invoke(base_url: str) -> None:
    await asyncio.to_thread(chat_model(base_url, streaming=True).invoke, "Why?")


async def with_retry(base_url: str) -> None:
    model = chat_model(base_url, streaming=True)
    await model.with_retry(stop_after_attempt=2, wait_exponential_jitter=False).ainvoke("Why?")


async def with_fallbacks(base_url: str) -> None:
    model = chat_model(base_url, streaming=True)
    await model.with_fallbacks([model]).ainvoke("Why?")


async def agent(base_url: str) -> None:
    asked: Any = {"messages": [("user", "Why?")]}
    await create_agent(chat_model(base_url, streaming=True)).ainvoke(asked)


async def in_a_group(base_url: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(raw(base_url))


async def wrapped(base_url: str) -> None:
    try:
        await raw(base_url)
    except Exception as error:
        raise RuntimeError("the answer failed") from error


async def wrapped_in_passing(base_url: str) -> None:
    try:
        await raw(base_url)
    except Exception:  # noqa: BLE001
        raise RuntimeError("the answer failed")  # noqa: B904 - as many write it


async def in_a_chain(base_url: str) -> None:
    await (RunnableLambda(lambda x: x) | chat_model(base_url, streaming=True)).ainvoke("Why?")


CLIENTS: list[Ask] = [
    raw,
    raw_sync,
    astream,
    ainvoke,
    invoke,
    with_retry,
    with_fallbacks,
    agent,
    in_a_group,
    wrapped,
    wrapped_in_passing,
    in_a_chain,
]
FAULTS = {
    Fault.UNAUTHORIZED: "upstream_auth",
    Fault.FORBIDDEN: "upstream_auth",
    Fault.NOT_FOUND: "upstream_error",
    Fault.UNPROCESSABLE: "upstream_error",
    Fault.RATE_LIMITED: "upstream_rate_limited",
    Fault.SERVER_ERROR: "upstream_unavailable",
    Fault.UNAVAILABLE_HTML: "upstream_unavailable",
    Fault.RESET_BEFORE_ANSWER: "upstream_unavailable",
    Fault.RESET_MID_STREAM: "upstream_disconnected",
    Fault.CUT_MID_CHUNK: "upstream_disconnected",
    Fault.PROPER_END_HALF_WAY: "upstream_truncated",
    Fault.MALFORMED_JSON: "upstream_bad_response",
    Fault.INVALID_UTF8: "upstream_bad_response",
    Fault.ERROR_CHUNK: "upstream_error",
    Fault.ERROR_EVENT: "upstream_rate_limited",
    Fault.RATE_LIMIT_FIRST: "upstream_rate_limited",
    Fault.ERROR_AFTER_FINISH: "upstream_unavailable",
    Fault.FINISH_ERROR: "upstream_error",
    Fault.FINISH_ABORT: "upstream_error",
    Fault.CHOICE_ERROR: "upstream_error",
    Fault.HTML_WITH_200: "upstream_bad_response",
    Fault.JSON_WITH_200: "upstream_bad_response",
}


async def failure(ask: Awaitable[Any]) -> BaseException:
    try:
        await ask
    except BaseException as error:  # noqa: BLE001 - also groups
        return error
    raise AssertionError("it went well")


def code(error: BaseException) -> str:
    found = classify(error)
    return found.code if found else "pipeline_error"


@pytest.fixture(scope="module")
async def faulty() -> AsyncIterator[OfflineModel]:
    """One for all: langchain-openai builds a client for each address, which takes its time."""
    async with OfflineModel(pace=0) as model:
        yield model


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.value)
async def test_a_failure_has_its_code_whoever_calls(
    fault: Fault, faulty: OfflineModel, run: Run
) -> None:
    faulty.script_when(lambda _: True, Reply(fault=fault))
    codes = {ask.__name__: code(await failure(ask(faulty.base_url))) for ask in CLIENTS}
    await faulty.until_idle()
    assert codes == dict.fromkeys(codes, FAULTS[fault])


@pytest.mark.parametrize("fault", [Fault.LARGE_HEADER, Fault.CUT_CHARACTERS])
@pytest.mark.parametrize("ask", [raw, raw_sync, ainvoke, astream])
async def test_what_is_no_failure_is_none_whoever_calls(
    fault: Fault, ask: Ask, model: OfflineModel, run: Run
) -> None:
    model.script(Reply(["one ", "👩‍👩‍👧‍👦", " two"], fault=fault))
    await ask(model.base_url)
    run.teller.said += run.left_out.said
    assert run.text == "one 👩‍👩‍👧‍👦 two"


async def test_a_refused_connection_has_its_code_whoever_calls(run: Run) -> None:
    async with OfflineModel() as model:
        base_url = model.base_url
    failures = {ask.__name__: await failure(ask(base_url)) for ask in CLIENTS}
    codes = {name: code(error) for name, error in failures.items()}
    assert codes == dict.fromkeys(codes, "upstream_unavailable")
    assert type(failures["raw"]) is openai.APIConnectionError


async def test_without_the_instrumentation_the_sdks_errors_have_the_same_codes() -> None:
    async with OfflineModel(pace=0, fault=Fault.RESET_MID_STREAM) as model:
        assert code(await failure(raw(model.base_url))) == "upstream_disconnected"
    async with OfflineModel(pace=0, fault=Fault.RESET_BEFORE_ANSWER) as model:
        assert code(await failure(raw(model.base_url))) == "upstream_unavailable"


async def at_once(base_url: str) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        await client.chat.completions.create(**ASKED)


async def at_once_by_langchain(base_url: str) -> None:
    await chat_model(base_url, disable_streaming=True).ainvoke("Why?")


@pytest.mark.parametrize(
    "ask", [raw, raw_sync, ainvoke, invoke, astream, at_once, at_once_by_langchain]
)
async def test_an_answer_beyond_all_bounds_is_cut_off_whoever_calls(
    ask: Ask, model: OfflineModel, run: Run
) -> None:
    instrumentor = OpenAIInstrumentor(Limits(max_answer=7))
    instrumentor.instrument()
    try:
        model.script(Reply(pieces=["가", "나", "다", "라"]))
        assert code(await failure(ask(model.base_url))) == "answer_too_large"
        assert run.text in ("가나", "")
        await model.until_idle()
    finally:
        await instrumentor.uninstrument()


async def test_what_a_fallback_has_mended_is_no_error(model: OfflineModel, run: Run) -> None:
    model.script(Reply(pieces=["a", "b"], fault=Fault.PROPER_END_HALF_WAY), Reply(pieces=["c"]))
    good = chat_model(model.base_url, streaming=True)
    assert (await good.with_fallbacks([good]).ainvoke("Why?")).text == "c"


async def test_who_leaves_an_answer_on_purpose_has_not_been_cut(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply(pieces=["a", "b", "c"], finish_reason=None))
    async with await client.chat.completions.create(**ASKED, stream=True) as chunks:
        async for _ in chunks:
            break
    reading: Any = chunks._iterator
    assert reading.ag_frame is None  # closed, and not left to the garbage collector
    assert len(run.teller.ends) == 1
    await model.until_idle()


def ended(choice: dict[str, Any]) -> Answer:
    """In one piece."""
    said = {"index": 0, "message": {"role": "assistant", "content": "a"}}
    fields = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    body = {**fields, "choices": [said | choice]}
    return Answer(json.dumps(body).encode(), "application/json")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(b"<html></html>", "text/html"), "upstream_bad_response"),
        (Answer(b'{"hello": 1}', "application/json"), "upstream_bad_response"),
        (Answer(b'{"broken', "application/json"), "upstream_bad_response"),
        (ended({"finish_reason": None}), "upstream_truncated"),
        (ended({"finish_reason": "abort"}), "upstream_error"),
        (ended({"finish_reason": "stop", "error": {"code": 429}}), "upstream_rate_limited"),
    ],
)
async def test_an_answer_that_is_not_streamed_is_judged_too(
    answer: Answer, expected: str, server: ScriptedServer, run: Run
) -> None:
    server.answers.clear()
    server.answers.append(answer)
    async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        assert code(await failure(client.chat.completions.create(**ASKED))) == expected
    assert code(await failure(chat_model(server.base_url).ainvoke("Why?"))) == expected


async def test_a_stream_that_is_encoded_in_a_way_that_is_not_known_is_none(
    server: ScriptedServer, run: Run
) -> None:
    server.answers = deque([Answer(b"(\xb5/\xfd$\x0b", more="Content-Encoding: foo\r\n")])
    async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        stream = await client.chat.completions.create(**ASKED, stream=True)
        assert code(await failure(anext_all(stream))) == "upstream_bad_response"


@pytest.mark.parametrize("kind", ["failed", "cut"])
async def test_a_response_that_failed_or_was_cut_is_no_answer(
    kind: str, server: ScriptedServer, run: Run
) -> None:
    delta = {"type": "response.output_text.delta", "delta": "a", "item_id": "m", "output_index": 0}
    ended = {"type": "response.failed", "response": {"id": "r", "status": "failed", "output": []}}
    server.plays(sse(delta, *[ended] * (kind == "failed"), done=False))
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
        events = await client.responses.create(model="m", input="?", stream=True)
        error = await failure(anext_all(events))
    assert code(error) == {"failed": "upstream_error", "cut": "upstream_truncated"}[kind]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "response.failed", "response": {"id": "r"}}, "upstream_error"),
        (
            {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}},
            "upstream_rate_limited",
        ),
        ({"type": "error", "code": None, "message": "overloaded"}, "upstream_unavailable"),
    ],
)
async def test_a_response_that_failed_has_its_code_by_langchain_too(
    event: dict[str, Any], expected: str, server: ScriptedServer, run: Run
) -> None:
    server.plays(sse(event, done=False))
    model = chat_model(server.base_url, use_responses_api=True, streaming=True)
    assert code(await failure(model.ainvoke("Why?"))) == expected


async def anext_all(events: Any) -> None:
    async for _ in events:
        pass


async def clean_up_fails(base_url: str) -> None:
    try:
        await raw(base_url)
    except openai.RateLimitError:
        _ = dict[str, str]()["missing"]


async def test_a_mistake_while_an_error_is_handled_is_a_mistake(run: Run) -> None:
    async with OfflineModel(pace=0, fault=Fault.RATE_LIMITED) as model:
        assert code(await failure(clean_up_fails(model.base_url))) == "pipeline_error"


REQUEST = httpx2.Request("POST", "http://upstream")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamRateLimited(), "upstream_rate_limited"),
        (ExceptionGroup("g", [ValueError(), UpstreamRateLimited()]), "upstream_rate_limited"),
        (openai.APITimeoutError(REQUEST), "upstream_timeout"),
        (openai.APIConnectionError(request=REQUEST), "upstream_unavailable"),
        (openai.OpenAIError("no key"), "upstream_error"),
        (ValueError("the user's own"), "pipeline_error"),
        (httpx2.ConnectError("a weather service"), "pipeline_error"),
        (aiohttp.ClientError("a weather service"), "pipeline_error"),
        (json.JSONDecodeError("the user's own", "", 0), "pipeline_error"),
        (TimeoutError("the user's own"), "pipeline_error"),
    ],
)
def test_an_error_has_its_code(error: BaseException, expected: str) -> None:
    assert code(error) == expected
