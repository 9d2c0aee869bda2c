"""What one call says, as it is taken where it arrives: told, counted, bounded, and its failure."""

import asyncio
import json
from math import inf
from typing import Any

import aiohttp
import httpx2
import pytest

from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.infrastructure.llm.body import Body, Take
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.receiver import Receiver, Say
from sluice.infrastructure.llm.timeouts import StreamTimeouts


def says(text: str = "", finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


A, STOP, DONE = says("a"), says("", "stop"), b"data: [DONE]\n\n"
BROKEN = b"data: {\n\n"
USED = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Received:
    def __init__(
        self,
        *pause: float,
        seconds: float = 0,
        max_answer: int = 1000,
        idle: float = 30,
        say: Say | None = None,
    ) -> None:
        self.heard: list[Delta] = []
        self.timeouts = StreamTimeouts(30, idle)
        given = self.timeouts, max_answer, seconds, sum(pause), say
        self.receiver = Receiver(self.heard.append, *given)

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.heard)


async def test_each_delta_is_told_and_counted_until_somebody_has_asked() -> None:
    received = Received()
    assert received.receiver.take(A + A)
    assert (received.text, received.receiver.heard) == ("aa", 2)
    received.receiver.heard = 0
    received.receiver.take(A)
    assert (received.text, received.receiver.heard) == ("aaa", 1)


async def test_a_delta_that_is_only_its_text_is_said_where_somebody_asks_for_that() -> None:
    said: list[str] = []
    received = Received(say=said.append)
    for data in (A, A, says("b"), STOP):
        received.receiver.take(data)
    told = "".join([*(delta.text for delta in received.heard), *said])
    assert (told, said[-1:], received.receiver.heard) == ("aab", ["b"], 4)
    assert received.heard[-1].finish_reason == "stop"


async def test_who_waits_is_woken_at_once_or_for_64_deltas_or_never() -> None:
    for seconds, woken in ((0.0, [True] * 3), (9.0, [False, True, True]), (inf, [False] * 3)):
        received = Received(seconds=seconds)
        assert [received.receiver.take(part) for part in (A * 63, A, A * 100)] == woken


async def test_a_call_knows_its_cost_and_its_last_finish_reason() -> None:
    receiver = Received().receiver
    assert (receiver.usage, receiver.finish_reason) == (None, None)
    receiver.take(A + says("b", "length") + says("", usage=USED) + says("c"))
    assert (receiver.usage, receiver.finish_reason) == (Usage(1, 2, 3), "length")
    receiver.take(A + A + STOP)
    assert (receiver.usage, receiver.finish_reason) == (Usage(1, 2, 3), "stop")
    receiver = Received().receiver
    receiver.take(A + A + says("b", usage=USED))
    assert receiver.usage == Usage(1, 2, 3)


@pytest.mark.parametrize("text", ["ab", "é", "\U0001f600"])
async def test_an_answer_may_be_so_long_in_bytes_and_no_longer(text: str) -> None:
    size = len(text.encode())
    received = Received(max_answer=2 * size, seconds=inf)
    assert not received.receiver.take(says(text) + says(text))
    received.receiver.check()
    assert received.receiver.take(A + A)
    assert received.text == 2 * text
    with pytest.raises(errors.AnswerTooLarge):
        received.receiver.check()
    received.receiver.check()  # it is raised once


@pytest.mark.parametrize("text", ["ab", "é", "\U0001f600"])
async def test_a_text_that_is_told_the_short_way_counts_as_much(text: str) -> None:
    size = len(text.encode())
    received = Received(max_answer=2 + 2 * size, seconds=inf)
    assert [received.receiver.take(says(each)) for each in ("a", "a", text, text)] == [False] * 4
    received.receiver.check()
    assert received.heard == [Delta("a"), Delta("a"), Delta(text), Delta(text)]
    assert received.receiver.heard == 4
    assert received.receiver.take(A)
    assert received.receiver.heard == len(received.heard) == 4
    with pytest.raises(errors.AnswerTooLarge):
        received.receiver.check()


async def test_a_failure_of_whoever_hears_ends_the_call_also_the_short_way() -> None:
    for before in range(5):
        heard: list[Delta] = []

        def tell(delta: Delta, heard: list[Delta] = heard, before: int = before) -> None:
            if len(heard) == before:
                raise errors.AnswerTooLarge
            heard.append(delta)

        receiver = Receiver(tell, StreamTimeouts(30, 30), 1000, inf)
        assert [receiver.take(A) for _ in range(before + 1)] == [False] * before + [True]
        with pytest.raises(errors.AnswerTooLarge):
            receiver.check()


async def test_the_first_failure_is_the_calls_and_what_came_before_it_was_told() -> None:
    received = Received(seconds=inf)
    assert received.receiver.take(A + BROKEN + A)
    received.receiver.fail(errors.UpstreamTimeout())
    assert received.text == "a"
    with pytest.raises(errors.UpstreamBadResponse):
        received.receiver.check()


async def test_what_fails_where_it_is_told_is_not_the_upstreams() -> None:
    def tell(_: Delta) -> None:
        raise LookupError

    receiver = Receiver(tell, StreamTimeouts(30, 30), 1000, 0)
    with pytest.raises(LookupError):
        receiver.take(A)
    receiver.check()


async def test_an_end_needs_a_finish_reason_and_whole_characters() -> None:
    received = Received()
    received.receiver.take(A)
    with pytest.raises(errors.UpstreamTruncated):
        received.receiver.check_end()
    received.receiver.take(STOP.rstrip())
    received.receiver.end()
    received.receiver.check_end()
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    received.receiver.take(half)
    with pytest.raises(errors.UpstreamBadResponse):
        received.receiver.check_end()


async def test_deadlines_follow_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the texts that are told the short way."""
    loop: Any = asyncio.get_running_loop()
    clock = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: clock[0])
    received = Received(idle=10)
    for _ in range(5):
        clock[0] += 6
        received.receiver.take(A)
        assert received.timeouts.deadline.remaining == pytest.approx(10)
        clock[0] += 6  # somebody is busy with it, which is not the upstream's
        with received.timeouts.deadline:
            assert received.timeouts.deadline.remaining == pytest.approx(10)
    received.receiver.take(b": warm\n\n")
    clock[0] += 6
    received.receiver.take(STOP)
    assert received.timeouts.over
    received.timeouts.deadline.close()


async def test_the_end_that_is_said_is_believed() -> None:
    received = Received()
    received.receiver.take(A)
    assert not received.timeouts.over
    received.receiver.take(DONE)
    assert received.timeouts.over


class Failing(Body):
    """Gives bytes, and then fails, or comes to its end."""

    def __init__(self, data: bytes, error: Exception | None) -> None:
        self._left, self._error = [data] * bool(data), error
        self.asked: list[float] = []

    async def gather(self, take: Take, seconds: float) -> bool:
        self.asked.append(seconds)
        if self._left:
            take(self._left.pop())
            return True
        if isinstance(self._error, TimeoutError):
            await asyncio.sleep(100)
        if self._error is not None:
            raise self._error
        return False


class Paused(Body):
    """Gives each read, and notes for how long it need not have been read on."""

    def __init__(self, *reads: bytes) -> None:
        self.left, self.woken, self.pauses = list(reads), list[bool](), list[tuple[int, float]]()

    async def gather(self, take: Take, seconds: float) -> bool:
        while self.left:
            self.woken.append(take(self.left.pop(0)))
        return False

    def pause_reading(self, seconds: float) -> None:
        self.pauses.append((len(self.woken), seconds))


@pytest.mark.parametrize(
    ("pause", "idle", "seconds", "pauses"),
    [
        ((2,), 5, inf, [(1, 2), (3, 2), (4, 2)]),
        ((2,), 4, inf, []),
        ((), 5, inf, []),
        ((0,), 5, inf, []),
        ((2,), 5, 0, []),
    ],
)
async def test_reading_pauses_only_behind_a_text_that_nobody_waits_for(
    pause: tuple[float, ...], idle: float, seconds: float, pauses: list[tuple[int, float]]
) -> None:
    received = Received(*pause, idle=idle, seconds=seconds)
    body = Paused(b": warm\n\n", A, b": warm\n\n", A, A, says("b", "stop"), DONE)
    assert not await received.receiver.more(body, seconds)
    assert (received.text, body.pauses) == ("aaab", pauses)
    assert body.woken == [seconds == 0] * 7
    received.receiver.check()


async def more(received: Received, body: Body) -> list[bool]:
    async with asyncio.timeout(8):
        return [await received.receiver.more(body, 7) for _ in range(2)]


async def test_a_body_is_gathered_to_its_end() -> None:
    received, body = Received(), Failing(A, None)
    assert await more(received, body) == [True, False]
    assert (received.text, body.asked) == ("a", [7, 7])
    received.receiver.check()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aiohttp.ClientError(), errors.UpstreamDisconnected),
        (OSError(), errors.UpstreamDisconnected),
        (httpx2.DecodingError("no gzip"), errors.UpstreamBadResponse),
        (TimeoutError(), errors.UpstreamTimeout),
    ],
)
async def test_what_breaks_is_a_failure_unless_the_answer_was_whole(
    error: Exception, expected: type[errors.UpstreamError]
) -> None:
    received = Received(idle=0.1)
    assert await more(received, Failing(A, error)) == [True, True]
    with pytest.raises(expected) as raised:
        received.receiver.check()
    assert raised.value.__cause__ is error or isinstance(error, TimeoutError)
    whole = Received(idle=0.1)
    whole.receiver.take(A + STOP + DONE)
    assert await whole.receiver.more(Failing(b"", error), 7) is False
    whole.receiver.check()
