"""What servers put on the wire that is not quite the protocol: on every path, by every client."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypedDict

import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr

from sluice.domain import errors
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model.server import OfflineModel
from tests.contract.llm_clients import upstream_of_bytes

from .conftest import Path, Told
from .graphs import chain

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
"""The SDK warns of a shape that its types do not have."""

SPEAKS = {"speaks": True, "reasoning": True}
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n"
EVENTS, CHUNKED = HEAD + b"\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
HASTY = 0.4
Plays = list[bytes | float]
Ask = Callable[[LLMClientPort, str], AsyncIterator[str]]


class State(TypedDict, total=False):
    message: str
    answer: str


def data(event: object) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def chunk(delta: Any = None, finish_reason: Any = None, **more: Any) -> bytes:
    given = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return data({**given, "choices": [choice], **more})


def says(text: str, finish_reason: Any = None) -> bytes:
    return chunk({"content": text}, finish_reason)


def framed(*events: bytes) -> bytes:
    """In HTTP's chunks, of which the last one is missing."""
    return b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)


A, B, STOP = says("one "), says("two"), chunk({}, "stop")


async def by_llm(llm: LLMClientPort, _: str) -> AsyncIterator[str]:
    async with aclosing(llm.stream("?")) as pieces:
        async for piece in pieces:
            yield piece


async def invoked(_: LLMClientPort, base_url: str) -> AsyncIterator[str]:
    yield (await chat(base_url).ainvoke("?")).text


async def streamed(_: LLMClientPort, base_url: str) -> AsyncIterator[str]:
    async for each in chat(base_url).astream("?"):
        yield each.text


async def raw(_: LLMClientPort, base_url: str) -> AsyncIterator[str]:
    async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as sdk:
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        async for each in await sdk.chat.completions.create(**asked, stream=True):
            for choice in each.choices:
                yield (choice.delta and choice.delta.content) or ""


def chat(base_url: str) -> ChatOpenAI:
    return ChatOpenAI(model="m", api_key=SecretStr("x"), base_url=base_url, max_retries=0)


@pytest.fixture(params=[by_llm, invoked, streamed, raw])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


@pytest.fixture(params=["A1", "A2", "A2-tap", "A2-messages"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def answering(name: str, model: OfflineModel, ask: Ask, plays: Plays) -> Any:
    """The path, and a graph whose one node asks an upstream that plays so."""
    instrumentor = OpenAIInstrumentor(Limits(first_token=HASTY, idle=HASTY))
    instrumentor.instrument()
    async with upstream_of_bytes(*plays) as base_url:
        upstream = Upstream(
            base_url, "x", "m", first_token_timeout=HASTY, idle_timeout=HASTY, retries=0
        )
        completions = ChatCompletions(upstream)

        def build(llm: LLMClientPort) -> Any:
            async def answer(state: State) -> dict[str, str]:
                return {"answer": "".join([text async for text in ask(llm, base_url)])}

            return chain(("answer", answer, SPEAKS))

        yield Path(name, model, completions), build
        await completions.aclose()
    await instrumentor.uninstrument()


async def told(name: str, model: OfflineModel, ask: Ask, *plays: bytes | float) -> Told:
    async with answering(name, model, ask, [EVENTS, *plays]) as (path, build):
        answer: Told = await path.tell(build)
    return answer


THOUGHTS = [
    {"reasoning_content": "hm"},
    {"reasoning": {"text": "hm"}},
    {"thinking": "hm"},
    {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
    {"function_call": {"name": "f", "arguments": " "}},
]


@pytest.mark.parametrize(
    "plays",
    [
        [A, B, STOP, b"data:\n\n", DONE],
        [b"data: \n\n", A, b"data:\n\n", B, STOP, DONE],
        [A, B, STOP, b"event: close\ndata:\n\n"],
        [A, B, STOP, b"data: bye\n\n", DONE],
        [A, B, STOP, b'data: {"choices":[],"usage":{"prompt_tokens":NaN}}\n\n', DONE],
        [A, B, STOP, data({"choices": [], "usage": {"prompt_tokens": "many"}}), DONE],
        [A, B, STOP, b"data:  [DONE] \n\n"],
        [A, B, STOP[:-2]],
        [A, says("two", "stop")[:-1]],
        [A, B, STOP, b'data: {"choices":[{'],
        [says("one ", ""), says("two", ""), STOP, DONE],
        [says("one ", "null"), says("two", "null"), STOP, DONE],
        [says("one ", "FINISH_REASON_UNSPECIFIED"), B, STOP, DONE],
        [A, B, chunk(None, "stop"), DONE],
        [chunk({"role": "assistant", "content": ""}, x_groq={"id": "r"}), A, B, STOP, DONE],
    ],
)
async def test_a_healthy_answer_is_one_in_whatever_dialect(
    plays: Plays, ask: Ask, name: str, model: OfflineModel
) -> None:
    answer = await told(name, model, ask, *plays)
    assert (answer.done.answer, answer.done.finish_reason) == ("one two", "stop")
    assert len(answer.tokens) == 2 * (name != "A1")


async def test_what_is_thought_keeps_the_first_deadline_by_whatever_name(
    ask: Ask, name: str, model: OfflineModel
) -> None:
    thinking = [play for thought in THOUGHTS for play in (chunk(thought), 0.25)]
    answer = await told(name, model, ask, *thinking, A, B, STOP, DONE)
    assert answer.done.answer == "one two"
    heard = "".join(each.content for each in answer.thoughts)
    assert heard == ("" if name == "A1" else "hm" * 4)


@pytest.mark.parametrize(
    ("plays", "error"),
    [
        ([A, says("", "null")], errors.UpstreamTruncated),
        ([A, says("", "None"), DONE], errors.UpstreamTruncated),
        ([A, STOP, chunk({}, x_groq={"error": "over capacity"})], errors.UpstreamUnavailable),
        ([A, chunk({}, "stop", x_groq={"error": "boom"}), DONE], errors.UpstreamError),
        ([A, chunk({"error": {"code": 429}}), STOP, DONE], errors.UpstreamRateLimited),
        ([b"<!DOCTYPE html>\n<p>504</p>\n"], errors.UpstreamBadResponse),
        ([A, b"event: error\ndata: boom\n\n"], errors.UpstreamError),
        ([A, b"event: throttlingException\ndata: {}\n\n"], errors.UpstreamRateLimited),
        ([A, b'error: {"code": 503, "message": "Loading"}\n\n', DONE], errors.UpstreamUnavailable),
        ([A, STOP, b'{\n "error": {\n  "code": 401\n }\n}\n'], errors.UpstreamAuth),
        ([b'{"detail": "Not authenticated"}'], errors.UpstreamAuth),
        ([b'[{"error": {"code": 429}}]'], errors.UpstreamRateLimited),
        ([A, data([{"error": {"code": 429}}])], errors.UpstreamRateLimited),
        ([A, data({"object": "error", "message": "boom", "code": 400})], errors.UpstreamError),
        ([data({"code": 401, "msg": "invalid token"})], errors.UpstreamAuth),
        (
            [A, data({"choices": None, "base_resp": {"status_code": 1, "status_msg": "quota"}})],
            errors.UpstreamRateLimited,
        ),
    ],
)
async def test_a_sick_answer_is_none_and_has_the_code_of_what_it_says(
    plays: Plays, error: type[errors.ChatError], ask: Ask, name: str, model: OfflineModel
) -> None:
    async with answering(name, model, ask, [EVENTS, *plays]) as (path, build):
        answer = await path.fail(build, error)
    assert answer.text == ("one " if plays[0] == A and name != "A1" else "")


@pytest.mark.parametrize("rest", [[], [30.0]], ids=["broken", "silent"])
async def test_a_finish_reason_in_every_chunk_proves_no_end(
    rest: list[float], ask: Ask, name: str, model: OfflineModel
) -> None:
    """Of the same plays a reason by itself does: then the answer outlives its connection."""
    both = [CHUNKED, framed(says("one ", "stop")), framed(says("two", "stop"))]
    error = errors.UpstreamTimeout if rest else errors.UpstreamDisconnected
    async with answering(name, model, ask, [*both, *rest]) as (path, build):
        await path.fail(build, error)
    async with answering(name, model, ask, [*both, framed(STOP), *rest]) as (path, build):
        assert (await path.tell(build)).done.answer == "one two"


@pytest.mark.parametrize("ask", [by_llm, invoked, streamed], indirect=True)
async def test_content_in_parts_is_told_as_it_comes(
    ask: Ask, name: str, model: OfflineModel
) -> None:
    thought = chunk({"content": [{"type": "thinking", "thinking": "hm"}]})
    part = chunk({"content": [{"type": "text", "text": "one "}]})
    answer = await told(name, model, ask, thought, 0.3, thought, 0.3, part, B, STOP, DONE)
    assert answer.done.answer == "one two"
    if name != "A1":
        assert [token.content for token in answer.tokens] == ["one ", "two"]
        assert [each.content for each in answer.thoughts] == ["hm", "hm"]


async def test_our_own_client_reads_what_others_fail_on(name: str, model: OfflineModel) -> None:
    """Numbers, the text of a completion, and PHP's empty object."""
    old = {"choices": [{"index": 0, "text": " two", "finish_reason": None}]}
    plays = [chunk({"content": 0}), chunk({"content": 1}), data(old), chunk([], "stop"), DONE]
    answer = await told(name, model, by_llm, *plays)
    assert (answer.done.answer, answer.done.finish_reason) == ("01 two", "stop")
