"""One call to the upstream over a socket: what it asks, how it is timed, and how it ends."""

import asyncio
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from math import inf
from threading import Event
from typing import Any

import pytest

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.infrastructure.llm import upstream
from sluice.infrastructure.llm.body import PushedBody, Take
from sluice.infrastructure.llm.decoding import Delta
from tests.unit.upstreams import (
    DONE,
    EVENTS,
    GOOD,
    MESSAGES,
    NEVER,
    STOP,
    USED,
    A,
    Asking,
    AskingWith,
    Server,
    failure,
    says,
)

pytestmark = pytest.mark.usefixtures("no_settings")


def refuses(status: int = 400, said: str = "stream_options?", head: str = "") -> tuple[bytes]:
    body = json.dumps({"error": {"message": said}})
    told = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{head}\r\n"
    return (told.encode() + body.encode(),)


BUSY = refuses(500, head="Retry-After-Ms: 1\r\n")


async def test_a_call_asks_for_a_stream_with_its_usage_and_nothing_that_is_not_set(
    server: Server, asking: Asking
) -> None:
    call = asking.completions.call(MESSAGES, temperature=0, stop=None)
    assert server.asked == []
    assert (call.usage, call.finish_reason) == (None, None)
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
    asking = asking_with(retries=3)
    server.plays(BUSY, BUSY, GOOD)
    assert await asking.text() == "a"
    server.plays(BUSY)
    assert type(await failure(asking)) is errors.UpstreamUnavailable
    assert len(server.asked) == 7


async def test_a_connection_may_take_so_long_and_goes_by_no_proxy_of_another_machines(
    server: Server, asking_with: AskingWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    asking = asking_with(connect_timeout=7)
    assert await asking.text() == "a"
    assert asking.completions._client._client.timeout.connect == 7


async def test_the_first_call_needs_no_thread_of_the_loops(
    server: Server, asking_with: AskingWith
) -> None:
    """Nor its second try, which is the SDK's."""
    asking = asking_with(retries=1)
    server.plays(BUSY, GOOD)
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

    monkeypatch.setattr(upstream, "call_span", span)
    asking = asking_with(genai="both")
    server.plays((EVENTS + says("a", "stop", usage=USED) + DONE,), (EVENTS + A,))
    await asking.hears()
    await failure(asking)
    well, badly = [span.told for span in spans]
    assert well == [("m", "both"), (Usage(1, 2, 3), "stop")]
    assert badly == [("m", "both"), "upstream_truncated", (None, None)]


@pytest.mark.parametrize(("seconds", "turns"), [(0, 4), (60, 2)])
async def test_who_waits_has_a_turn_for_what_was_heard_and_for_nothing_else(
    seconds: float, turns: int, server: Server, asking: Asking
) -> None:
    warm = b": warm\n\n"
    server.plays((EVENTS + A, 0.01, warm, 0.01, A, 0.01, A, 0.01, warm, 0.01, STOP + DONE))
    heard: list[Delta] = []
    async with aclosing(asking.completions.call(MESSAGES).heard(heard.append, seconds)) as waits:
        assert len([turn async for turn in waits]) == turns
    assert "".join(delta.text for delta in heard) == "aaa"


async def test_only_what_no_user_hears_is_taken_together(
    server: Server, asking_with: AskingWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(PushedBody, "pause_reading", lambda _, seconds: pauses.append(seconds))
    asking = asking_with(piece_interval=2)
    server.plays((EVENTS + A, 0.01, A, 0.01, A, 0.01, STOP + DONE))
    assert await asking.text() == "aaa"
    heard: list[dict[str, Any]] = [{}, {"by_user": True}, {"by_user": False}]
    for options in heard:
        assert pauses == []
        call = asking.completions.call(MESSAGES)
        async with aclosing(call.heard(lambda _: None, inf, **options)) as waits:
            assert [turn async for turn in waits]
    assert pauses == [2, 2]


async def test_one_by_one_deltas_are_waited_for_no_longer_than_each_takes(
    server: Server, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    theirs = PushedBody.gather

    async def gather(body: PushedBody, take: Take, seconds: float) -> bool:
        waits.append(seconds)
        return await theirs(body, take, seconds)

    monkeypatch.setattr(PushedBody, "gather", gather)
    assert await asking.text() == "a"
    assert {*waits} == {0}
