"""Each way an upstream can fail ends in its own error, in both clients, and leaves nothing open."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import BaseModel

from sluice.domain import errors
from sluice.domain.ports import LLMClientPort
from sluice.offline_model import CANARY, Break, Fault, OfflineModel, Reply, Wire, tool_call_deltas
from sluice.offline_model.replies import Piece

from .llm_clients import REAL, client

PIECES = ("무색", " 페트병은", " 👩‍👩‍👧‍👦", " red", ".")
TEXT = "".join(PIECES)
HALF = "".join(PIECES[:3])
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}

REFUSED = {
    Fault.UNAUTHORIZED: errors.UpstreamAuth,
    Fault.FORBIDDEN: errors.UpstreamAuth,
    Fault.NOT_FOUND: errors.UpstreamError,
    Fault.UNPROCESSABLE: errors.UpstreamError,
    Fault.RATE_LIMITED: errors.UpstreamRateLimited,
    Fault.RATE_LIMITED_BRIEFLY: errors.UpstreamRateLimited,
    Fault.RATE_LIMITED_FOR_LONG: errors.UpstreamRateLimited,
    Fault.SERVER_ERROR_ONCE: errors.UpstreamUnavailable,
    Fault.SERVER_ERROR: errors.UpstreamUnavailable,
    Fault.UNAVAILABLE_HTML: errors.UpstreamUnavailable,
    Fault.RESET_BEFORE_ANSWER: errors.UpstreamUnavailable,
    Fault.REDIRECT: errors.UpstreamBadResponse,
    Fault.HTML_WITH_200: errors.UpstreamBadResponse,
    Fault.COMPLETION_WITH_200: errors.UpstreamBadResponse,
    Fault.JSON_WITH_200: errors.UpstreamBadResponse,
}
BROKEN = {
    Fault.RESET_MID_STREAM: errors.UpstreamDisconnected,
    Fault.CUT_MID_CHUNK: errors.UpstreamDisconnected,
    Fault.PROPER_END_HALF_WAY: errors.UpstreamTruncated,
    Fault.MALFORMED_JSON: errors.UpstreamBadResponse,
    Fault.INVALID_UTF8: errors.UpstreamBadResponse,
    Fault.LONE_SURROGATE: errors.UpstreamBadResponse,
    Fault.ERROR_CHUNK: errors.UpstreamError,
    Fault.FINISH_ERROR: errors.UpstreamError,
    Fault.FINISH_ABORT: errors.UpstreamError,
    Fault.CHOICE_ERROR: errors.UpstreamError,
    Fault.ERROR_EVENT: errors.UpstreamRateLimited,
    Fault.ERROR_FIELD: errors.UpstreamError,
    Fault.BARE_ERROR: errors.UpstreamAuth,
    Fault.RATE_LIMIT_FIRST: errors.UpstreamRateLimited,
    Fault.ERROR_AFTER_FINISH: errors.UpstreamUnavailable,
}
SAID = {Fault.RATE_LIMIT_FIRST: "", Fault.ERROR_AFTER_FINISH: TEXT}
"""Before a broken stream broke, where it is not half of the answer."""
HANGING = {
    Fault.HANG_BEFORE_STATUS: ("", "first_token_timeout"),
    Fault.HANG_AFTER_HEADERS: ("", "first_token_timeout"),
    Fault.HANG_MID_STREAM: (HALF, "idle_timeout"),
    Fault.KEPT_WARM: (HALF, "idle_timeout"),
}
HARMLESS = {
    Fault.NO_DONE: TEXT,
    Fault.EMPTY_CHOICES: TEXT,
    Fault.NULL_CONTENT: TEXT,
    Fault.USAGE_ONLY: TEXT,
    Fault.HUGE_CHUNK: HALF + "0123456789abcde\n" * 2**16 + " red.",
    Fault.BYTE_BY_BYTE: TEXT,
    Fault.FINISH_LENGTH: HALF,
    Fault.FINISH_CONTENT_FILTER: HALF,
    Fault.REFUSAL: TEXT,
    Fault.TOOL_CALL_DELTAS: TEXT,
    Fault.REASONING_DELTAS: TEXT,
    Fault.FINISH_IN_EVERY_CHUNK: TEXT,
    Fault.LATE_PIECE: TEXT,
    Fault.EMPTY_EVENTS: TEXT,
    Fault.RUBBISH_AFTER_FINISH: TEXT,
    Fault.NO_LAST_LINE: TEXT,
    Fault.NO_CONTENT_TYPE: TEXT,
    Fault.WRONG_CONTENT_TYPE: TEXT,
    Fault.LARGE_HEADER: TEXT,
    Fault.CONTENT_PARTS: TEXT,
    Fault.CUT_CHARACTERS: TEXT,
}


class Verdict(BaseModel):
    label: str


Call = Callable[[LLMClientPort], Awaitable[Any]]
SILENT_CALLS: tuple[Call, ...] = (
    lambda llm: llm.complete("What?"),
    lambda llm: llm.structured("What?", Verdict),
    lambda llm: llm.call_tool("What?", [TOOL]),
)


@pytest.fixture(params=REAL)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def llm(kind: str, model: OfflineModel) -> AsyncIterator[LLMClientPort]:
    async with client(kind, model.base_url) as llm:
        yield llm


async def heard(llm: LLMClientPort) -> tuple[str, errors.ChatError | None]:
    """What a stream said, and how it failed."""
    said: list[str] = []
    try:
        async with aclosing(llm.stream("What?")) as pieces:
            async for piece in pieces:
                said.append(piece)
    except errors.ChatError as error:
        return "".join(said), error
    return "".join(said), None


def test_every_fault_is_covered() -> None:
    assert {*REFUSED, *BROKEN, *HANGING, *HARMLESS} == set(Fault)


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.value)
async def test_a_refused_call_says_nothing_but_its_error(
    llm: LLMClientPort, model: OfflineModel, fault: Fault
) -> None:
    model.script(Reply(PIECES, fault=fault))
    said, error = await heard(llm)
    assert (said, type(error)) == ("", REFUSED[fault])
    assert CANARY not in f"{error!r}{error}"
    assert model.redirects_followed == 0
    await model.until_idle()


@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.value)
async def test_a_broken_stream_says_what_came_and_its_error(
    llm: LLMClientPort, model: OfflineModel, fault: Fault
) -> None:
    model.script(Reply(PIECES, fault=fault))
    said, error = await heard(llm)
    assert (said, type(error)) == (SAID.get(fault, HALF), BROKEN[fault])
    assert CANARY not in f"{error!r}{error}"
    await model.until_idle()


@pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: fault.value)
async def test_what_is_no_failure_changes_no_text(
    llm: LLMClientPort, model: OfflineModel, fault: Fault
) -> None:
    model.script(Reply(PIECES, fault=fault), Reply(PIECES, fault=fault))
    assert await heard(llm) == (HARMLESS[fault], None)
    assert await llm.complete("What?") == HARMLESS[fault]


@pytest.mark.parametrize("fault", [*REFUSED, *BROKEN], ids=lambda fault: fault.value)
async def test_silent_calls_fail_like_a_stream(
    llm: LLMClientPort, model: OfflineModel, fault: Fault
) -> None:
    for call in SILENT_CALLS:
        model.script(Reply(PIECES, fault=fault))
        with pytest.raises(errors.UpstreamError) as failed:
            await call(llm)
        assert failed.type is (REFUSED | BROKEN)[fault]


@pytest.mark.parametrize("fault", HANGING, ids=lambda fault: fault.value)
async def test_a_hanging_upstream_is_left_at_the_deadline(
    kind: str, model: OfflineModel, fault: Fault
) -> None:
    said, deadline = HANGING[fault]
    model.script(Reply(PIECES, fault=fault))
    async with client(kind, model.base_url, **{deadline: 0.3}) as llm, asyncio.timeout(5):
        told, error = await heard(llm)
    assert (told, type(error)) == (said, errors.UpstreamTimeout)
    await model.until_idle()


@pytest.mark.parametrize(
    "thought", [{"reasoning_content": "hm"}, {"content": [{"type": "thinking", "thinking": "hm"}]}]
)
async def test_reasoning_keeps_the_first_token_deadline_and_then_the_idle_one(
    kind: str, model: OfflineModel, thought: dict[str, Any]
) -> None:
    model.script(
        Reply([thought, Break.HANG]), Reply([thought, 0.15, thought, 0.15, thought, 0.15, "a"])
    )
    patient = {"first_token_timeout": 30, "idle_timeout": 0.3}
    async with client(kind, model.base_url, **patient) as llm, asyncio.timeout(5):
        assert type((await heard(llm))[1]) is errors.UpstreamTimeout
        assert await heard(llm) == ("a", None)


@pytest.mark.parametrize("warmth", [b": warm\n\n", b"data:\n\n", b":", b'data: {"choices":[]}\n\n'])
@pytest.mark.parametrize("said", [(), ("a",)])
async def test_nothing_said_keeps_nothing_alive(
    kind: str, model: OfflineModel, warmth: bytes, said: tuple[str, ...]
) -> None:
    """Also within one event, byte by byte."""
    warm: list[Piece] = [Wire(warmth), 0.1]
    model.script(Reply([*said, *warm * 50]))
    impatient = {"first_token_timeout": 0.35, "idle_timeout": 0.35}
    async with client(kind, model.base_url, **impatient) as llm, asyncio.timeout(4):
        told, error = await heard(llm)
    assert (told, type(error)) == ("".join(said), errors.UpstreamTimeout)


async def test_a_refused_connection_is_unavailable(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with client(kind, f"http://127.0.0.1:{unused.getsockname()[1]}/v1") as llm:
            assert type((await heard(llm))[1]) is errors.UpstreamUnavailable


async def test_a_connection_that_nobody_accepts_is_left_at_the_connect_deadline(kind: str) -> None:
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        base_url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        async with client(kind, base_url, connect_timeout=0.1) as llm, asyncio.timeout(5):
            assert type((await heard(llm))[1]) is errors.UpstreamTimeout


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail ready\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n<html>",
    ],
    ids=["no http", "a page without end"],
)
async def test_what_can_be_no_answer_is_hung_up_on_at_once(kind: str, answer: bytes) -> None:
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read()
        hung_up.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(5):
        port = server.sockets[0].getsockname()[1]
        async with client(kind, f"http://127.0.0.1:{port}/v1") as llm:
            assert type((await heard(llm))[1]) is errors.UpstreamBadResponse
            await hung_up.wait()


@pytest.mark.parametrize("how", [Break.RESET, Break.CUT, Break.HANG])
async def test_a_finished_answer_outlives_its_connection(
    llm: LLMClientPort, model: OfflineModel, how: Break
) -> None:
    finish = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    model.script(Reply([*PIECES, finish, how]))
    assert await heard(llm) == (TEXT, None)
    await model.until_idle()


async def test_output_cut_by_the_length_limit_is_truncated(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    model.script(Reply(['{"label": "a'], finish_reason="length"))
    with pytest.raises(errors.UpstreamTruncated):
        await llm.structured("What?", Verdict)
    *cut, _ = tool_call_deltas("look_up", {"word": "long enough for two parts"})
    model.script(Reply(cut, finish_reason="length"))
    with pytest.raises(errors.UpstreamTruncated):
        await llm.call_tool("What?", [TOOL])


async def test_broken_tool_arguments_are_a_bad_response(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    *cut, _ = tool_call_deltas("look_up", {"word": "long enough for two parts"})
    model.script(Reply(cut, finish_reason="tool_calls"))
    with pytest.raises(errors.UpstreamBadResponse):
        await llm.call_tool("What?", [TOOL])
