"""One call to the upstream over a socket: what it asks, how it is timed, and how it ends."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from threading import Event
from typing import Any

import pytest

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.infrastructure.llm import upstream
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream

pytestmark = pytest.mark.usefixtures("no_settings")

EVENTS = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
NAMELESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
MESSAGES = [{"role": "user", "content": "?"}]
NEVER = 100.0
Play = bytes | float


def says(text: str = "", finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


A, STOP, DONE = says("a"), says("", "stop"), b"data: [DONE]\n\n"
USED = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
GOOD = (EVENTS + A + STOP + DONE,)


def refuses(status: int = 400, said: str = "stream_options?", head: str = "") -> tuple[bytes]:
    body = json.dumps({"error": {"message": said}})
    told = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{head}\r\n"
    return (told.encode() + body.encode(),)


class Server:
    """Plays an answer for each request, the last one again and again: bytes, and seconds."""

    def __init__(self) -> None:
        self.answers: list[tuple[Play, ...]] = [GOOD]
        self.heads: list[bytes] = []
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        self._serving: set[asyncio.Task[None]] = set()

    def plays(self, *answers: tuple[Play, ...]) -> None:
        self.answers = list(answers)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # it was given up before it was asked
            writer.close()
            return
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        self.asked.append(json.loads(await reader.readexactly(int(length[1]) if length else 0)))
        self.heads.append(head)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        left = asyncio.ensure_future(reader.read())
        for play in answer:
            if isinstance(play, bytes):
                writer.write(play)
            else:
                await asyncio.wait([left], timeout=play)
        self.left += left.done()
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def closed(self) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*self._serving)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        server.base_url = f"http://127.0.0.1:{port}/v1"  # type: ignore[attr-defined]
        yield server
    await server.closed()


AskingWith = Callable[..., "Asking"]


class Asking:
    """A client of the server, and one call of it at a time."""

    def __init__(self, server: Any, **settings: Any) -> None:
        given = {"retries": 0, **settings}
        self.completions = ChatCompletions(Upstream(server.base_url, "key", "m", **given))
        self.call: upstream.Call

    async def hears(self, **options: Any) -> list[Delta]:
        self.call = self.completions.call(MESSAGES, **options)
        async with asyncio.timeout(8), aclosing(self.call.deltas()) as deltas:
            return [delta async for delta in deltas]

    async def text(self, **options: Any) -> str:
        return "".join([delta.text for delta in await self.hears(**options)])


@pytest.fixture
async def asking_with(server: Server) -> AsyncIterator[Callable[..., Asking]]:
    made: list[Asking] = []

    def make(**settings: Any) -> Asking:
        made.append(Asking(server, **settings))
        return made[-1]

    yield make
    for one in made:
        await one.completions.aclose()


@pytest.fixture
def asking(asking_with: AskingWith) -> Asking:
    return asking_with()


async def failure(asking: Asking) -> errors.ChatError:
    with pytest.raises(errors.ChatError) as raised:
        await asking.hears()
    return raised.value


async def test_a_call_asks_for_a_stream_with_its_usage_and_nothing_that_is_not_set(
    server: Server, asking: Asking
) -> None:
    call = asking.completions.call(MESSAGES, temperature=0, stop=None)
    assert server.asked == []
    async with aclosing(call.deltas()) as deltas:
        assert [delta.text async for delta in deltas] == ["a", ""]
    assert server.asked == [
        {
            "model": "m",
            "messages": MESSAGES,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    [head] = server.heads
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nauthorization: bearer key\r\n" in head.lower()
    await asking.hears(model="mine")
    assert server.asked[-1]["model"] == "mine"


async def test_a_call_asks_the_model_of_its_job(server: Server, asking: Asking) -> None:
    for model, expected in (("another", "another"), (None, "m")):
        before = current_node.set(NodeRun(ModelCalls(model), "a", speaks=True))
        await asking.hears()
        current_node.reset(before)
        assert server.asked[-1]["model"] == expected


async def test_what_a_model_refused_is_its_own(asking: Asking) -> None:
    refused = asking.completions.refused
    refused.add("tools")
    assert asking.completions.refused is refused
    before = current_node.set(NodeRun(ModelCalls("another"), "a", speaks=True))
    assert asking.completions.refused == set()
    current_node.reset(before)


async def test_a_call_knows_its_cost_and_its_end(server: Server, asking: Asking) -> None:
    last = says("", None, usage=USED)
    server.plays((EVENTS + A + says("b", "length") + last + says("c") + DONE,))
    assert [delta.text for delta in await asking.hears()] == ["a", "b", "", "c"]
    assert (asking.call.usage, asking.call.finish_reason) == (Usage(1, 2, 3), "length")
    server.plays(GOOD)
    await asking.hears()
    assert (asking.call.usage, asking.call.finish_reason) == (None, "stop")


async def test_a_call_is_tried_so_often_and_no_more(
    server: Server, asking_with: AskingWith
) -> None:
    asking = asking_with(retries=2)
    busy = refuses(500, head="Retry-After-Ms: 1\r\n")
    server.plays(busy, busy, GOOD)
    assert await asking.text() == "a"
    server.plays(busy)
    assert type(await failure(asking)) is errors.UpstreamUnavailable
    assert len(server.asked) == 6


async def test_the_first_call_needs_no_thread_of_the_loops(server: Server, asking: Asking) -> None:
    free, pool = Event(), ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    pool.submit(free.wait)
    try:
        assert await asking.text() == "a"
    finally:
        free.set()


@pytest.mark.parametrize("status", [400, 422])
async def test_who_refuses_to_be_asked_for_usage_is_asked_once_more_and_known(
    status: int, server: Server, asking: Asking
) -> None:
    server.plays(refuses(status), GOOD)
    assert await asking.text() == "a"
    assert await asking.text() == "a"
    assert ["stream_options" in asked for asked in server.asked] == [True, False, False]
    assert all(asked["stream"] and asked["model"] == "m" for asked in server.asked)


async def test_another_refusal_is_a_failure(server: Server, asking: Asking) -> None:
    server.plays(refuses(401, "no"))
    assert type(await failure(asking)) is errors.UpstreamAuth
    assert len(server.asked) == 1


async def test_who_refuses_either_way_is_asked_for_usage_again(
    server: Server, asking: Asking
) -> None:
    server.plays(refuses(), refuses(), GOOD)
    failed = await failure(asking)
    assert type(failed) is errors.UpstreamError
    assert failed.__cause__ is not None
    await asking.hears()
    assert ["stream_options" in asked for asked in server.asked] == [True, False, True]


async def test_a_body_without_a_finish_reason_is_truncated(server: Server, asking: Asking) -> None:
    for end in (b"", DONE):
        server.plays((EVENTS + A + end,))
        assert type(await failure(asking)) is errors.UpstreamTruncated
    server.plays((EVENTS + A + STOP.rstrip(),))
    assert await asking.text() == "a", "only the last empty line is missing"


async def test_half_a_character_is_no_end(server: Server, asking: Asking) -> None:
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    server.plays((EVENTS + A + half + STOP + DONE,))
    assert type(await failure(asking)) is errors.UpstreamBadResponse


@pytest.mark.parametrize("text", ["ab", "é", "\U0001f600"])
async def test_an_answer_may_be_so_long_in_bytes_and_no_longer(
    server: Server, asking_with: AskingWith, text: str
) -> None:
    size = len(text.encode())
    server.plays((EVENTS + says(text) + says(text) + STOP + DONE,))
    asking = asking_with(max_answer=2 * size)
    assert await asking.text() == 2 * text
    asking = asking_with(max_answer=2 * size - 1)
    assert type(await failure(asking)) is errors.AnswerTooLarge


async def test_the_first_deadline_spans_the_call_until_something_is_said(
    server: Server, asking_with: AskingWith
) -> None:
    asking = asking_with(first_token_timeout=0.3, idle_timeout=60)
    for plays in ((NEVER,), (EVENTS, NEVER), (EVENTS + b": warm\n\n", NEVER)):
        server.plays(plays)
        assert type(await failure(asking)) is errors.UpstreamTimeout


async def test_from_then_on_the_idle_deadline_holds_between_two_things_said(
    server: Server, asking_with: AskingWith
) -> None:
    asking = asking_with(first_token_timeout=60, idle_timeout=0.6)
    server.plays((EVENTS + A, 0.35, A, 0.35, A, 0.35, A, NEVER))
    async with aclosing(asking.completions.call(MESSAGES).deltas()) as deltas:
        assert [(await anext(deltas)).text for _ in range(4)] == ["a"] * 4
        with pytest.raises(errors.UpstreamTimeout):
            await asyncio.wait_for(anext(deltas), 8)


async def test_no_timer_is_left_of_a_call(server: Server, asking_with: AskingWith) -> None:
    loop: Any = asyncio.get_running_loop()
    asking = asking_with(first_token_timeout=1000, idle_timeout=1000)
    await asking.hears()
    server.plays(refuses(401))
    await failure(asking)
    late = [timer for timer in loop._scheduled if timer.when() > loop.time() + 900]
    assert [timer for timer in late if not timer.cancelled()] == []


async def test_once_the_end_is_said_the_body_may_take_a_second(
    server: Server, asking_with: AskingWith
) -> None:
    asking = asking_with(idle_timeout=60)
    server.plays((EVENTS + A + DONE, NEVER))
    assert type(await failure(asking)) is errors.UpstreamTruncated


LONG = EVENTS.replace(b"Connection: close", b"Content-Length: 9999")


async def test_a_body_that_breaks_is_a_failure_unless_the_answer_was_whole(
    server: Server, asking: Asking
) -> None:
    server.plays((LONG + A,))
    failed = await failure(asking)
    assert type(failed) is errors.UpstreamDisconnected
    assert failed.__cause__ is not None
    server.plays((LONG + A + STOP,))
    assert await asking.text() == "a"
    server.plays((LONG,))
    assert type(await failure(asking)) is errors.UpstreamDisconnected


async def test_a_compressed_body_is_read_as_well(server: Server, asking: Asking) -> None:
    body = gzip.compress(A + STOP + DONE)
    head = EVENTS.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    server.plays((head + body[:9], 0.01, body[9:]))
    assert await asking.text() == "a"


async def test_a_call_that_is_left_hangs_up(server: Server, asking: Asking) -> None:
    server.plays((EVENTS + A, NEVER))
    async with asyncio.timeout(8), aclosing(asking.completions.call(MESSAGES).deltas()) as deltas:
        assert (await anext(deltas)).text == "a"
    await server.closed()
    assert server.left == 1


class Span:
    """What is told of a call."""

    def __init__(self, model: str, names: str) -> None:
        self.told: list[Any] = [(model, names)]

    def failed(self, code: str) -> None:
        self.told.append(code)

    def end(self, usage: Usage | None, finish_reason: str | None) -> None:
        self.told.append((usage, finish_reason))


async def test_a_tracer_is_told_how_a_call_went(
    server: Server, asking_with: AskingWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: list[Span] = []

    def span(*given: str) -> Span:
        spans.append(Span(*given))
        return spans[-1]

    monkeypatch.setattr(upstream, "CallSpan", span)
    asking = asking_with(genai="both")
    server.plays((EVENTS + says("a", "stop", usage=USED) + DONE,), (EVENTS + A,))
    await asking.hears()
    await failure(asking)
    well, badly = [span.told for span in spans]
    assert well == [("m", "both"), (Usage(1, 2, 3), "stop")]
    assert badly == [("m", "both"), "upstream_truncated", (None, None)]


def named(name: bytes) -> bytes:
    return NAMELESS.replace(b"\r\n\r\n", b"\r\nContent-Type: " + name + b"\r\n\r\n")


NAMES = [
    NAMELESS,
    named(b"application/json"),
    named(b"text/event-stream"),
    named(b" TEXT/Event-Stream ; charset=utf-8"),
]


@pytest.mark.parametrize("head", NAMES)
async def test_a_stream_is_read_by_whatever_name(
    head: bytes, server: Server, asking: Asking
) -> None:
    server.plays((head + A[:2], 0.01, A[2:] + STOP))
    assert await asking.text() == "a"
    server.plays((head + b"id:", 0.01, b"1\n\n" + A + STOP))
    assert await asking.text() == "a"


@pytest.mark.parametrize("head", NAMES)
async def test_a_page_is_none_by_any_name(head: bytes, server: Server, asking: Asking) -> None:
    server.plays((head + b"\n <html>", NEVER))
    failed = await failure(asking)
    assert type(failed) is errors.UpstreamBadResponse
    await server.closed()
    assert server.left == 1


@pytest.mark.parametrize("head", NAMES[:2])
async def test_json_in_a_streams_place_says_what_failed(
    head: bytes, server: Server, asking: Asking
) -> None:
    body = b' [{"error": {"code": 429}}]'
    server.plays((head + body[:6], 0.01, body[6:]))
    assert type(await failure(asking)) is errors.UpstreamRateLimited
    for other in (b'{"status": "ok"}', b"", b"hello"):
        server.plays((head + other,))
        assert type(await failure(asking)) is errors.UpstreamBadResponse


async def test_json_without_end_is_read_so_far_and_no_further(
    server: Server, asking: Asking
) -> None:
    server.plays((NAMELESS + b"{" + b" " * (64 * 1024 - 1), 0.05, b'"error": {"code": 429}}'))
    assert type(await failure(asking)) is errors.UpstreamRateLimited
    server.plays((NAMELESS + b"{" + b" " * 64 * 1024, NEVER))
    assert type(await failure(asking)) is errors.UpstreamBadResponse
