"""How long a user's call is waited for, by what it has said so far."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

from sluice.domain.errors import UpstreamTimeout
from sluice.infrastructure.openai_sdk import timeouts
from sluice.infrastructure.openai_sdk.timeouts import (
    IdleCheck,
    TimedReads,
    Timeouts,
    broken_body,
    of_the_sdk,
)

REQUEST = httpx2.Request("POST", "http://x")


@dataclass
class Answer:
    said: int = 0
    over: bool = False


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timeouts, "monotonic", clock)
    return clock


class Checked:
    """Reads of a thread: each comes `after` so many seconds."""

    def __init__(self, clock: Clock, limits: Timeouts) -> None:
        self._clock, self._idle, self.answer = clock, IdleCheck(limits), Answer()

    def reads(self, after: float, *, said: int = 0) -> None:
        self._clock.now += after
        self.answer.said += said
        answer: Any = self.answer
        self._idle.check(answer, REQUEST)


def test_a_thread_that_hears_nothing_is_late_after_its_first_deadline(clock: Clock) -> None:
    checked = Checked(clock, Timeouts(first_token=5, idle=2))
    checked.reads(100)  # the clock begins with the first read
    checked.reads(3)
    checked.reads(2)
    with pytest.raises(openai.APITimeoutError) as late:
        checked.reads(0.5)
    assert late.value.request is REQUEST


def test_something_said_begins_the_idle_deadline_anew(clock: Clock) -> None:
    checked = Checked(clock, Timeouts(first_token=5, idle=2))
    checked.reads(0)
    checked.reads(4, said=1)
    for _ in range(3):
        checked.reads(1)
        checked.reads(1)
        checked.reads(10, said=1)
    checked.reads(1)
    checked.reads(2)
    with pytest.raises(openai.APITimeoutError):
        checked.reads(0.5)


def test_an_answer_that_is_over_and_who_has_set_no_deadline_are_never_late(clock: Clock) -> None:
    for checked in (Checked(clock, Timeouts(5, 2)), Checked(clock, Timeouts())):
        checked.answer.over = checked.answer.said == 0 and checked._idle._timeouts.idle == 2
        checked.reads(1)
        checked.reads(1000)
        checked.reads(1000)


def failing(failure: BaseException | None) -> Any:
    async def read() -> bytes:
        if failure is not None:
            raise failure
        return b"x"

    return read


async def hanging() -> bytes:
    await asyncio.Event().wait()
    return b""


async def read(reads: TimedReads, how: Any, answer: Answer | None = None) -> bytes:
    given: Any = answer or Answer()
    return await reads.next(how, given, REQUEST)


@pytest.fixture(params=[Timeouts(), Timeouts(5, 5)], ids=["theirs", "ours"])
def reads(request: pytest.FixtureRequest) -> Iterator[TimedReads]:
    reads = TimedReads(request.param)
    yield reads
    reads.close()


async def test_a_read_gives_its_bytes(reads: TimedReads) -> None:
    assert await read(reads, failing(None)) == b"x"
    reads.close()


async def test_a_body_that_breaks_is_the_sdks_error(reads: TimedReads) -> None:
    broken = httpx2.ReadError("x")
    with pytest.raises(openai.APIConnectionError) as raised:
        await read(reads, failing(broken))
    assert (raised.value.__cause__, raised.value.request) == (broken, REQUEST)
    assert await read(reads, failing(broken), Answer(over=True)) == b""
    with pytest.raises(openai.APITimeoutError):
        await read(reads, failing(httpx2.ReadTimeout("x")))
    reads.close()


async def test_an_error_of_another_kind_is_left_as_it_is(reads: TimedReads) -> None:
    with pytest.raises(KeyError):
        await read(reads, failing(KeyError("x")))
    reads.close()


async def test_a_read_outlasts_its_deadline() -> None:
    reads = TimedReads(Timeouts(0.01, 5))
    with pytest.raises(openai.APITimeoutError) as late:
        await read(reads, hanging)
    assert isinstance(late.value.__cause__, UpstreamTimeout)
    assert late.value.request is REQUEST
    reads.close()


async def test_an_answer_that_is_over_ends_where_its_connection_stays_open() -> None:
    reads = TimedReads(Timeouts(0.01, 5))
    assert await read(reads, hanging, Answer(over=True)) == b""
    reads.close()


def remaining(reads: TimedReads) -> float:
    assert reads._deadline is not None
    with reads._deadline:
        return reads._deadline.remaining


async def test_from_the_first_thing_said_on_the_idle_deadline_holds() -> None:
    reads, answer = TimedReads(Timeouts(100, 50)), Answer()
    given: Any = answer
    reads.hear(given)
    await read(reads, failing(None))
    reads.hear(given)
    assert remaining(reads) == pytest.approx(100, abs=0.9)
    answer.said = 1
    reads.hear(given)
    assert remaining(reads) == pytest.approx(50, abs=0.9)
    await asyncio.sleep(0.02)
    before = remaining(reads)
    reads.hear(given)
    assert remaining(reads) <= before  # nothing more was said
    answer.said = 2
    reads.hear(given)
    assert remaining(reads) > before
    reads.close()


async def test_the_time_in_which_nobody_waits_is_not_counted() -> None:
    reads, answer = TimedReads(Timeouts(100, 50)), Answer()
    given: Any = answer
    await read(reads, failing(None))
    for answer.said in (1, 2):
        reads.hear(given)
        assert reads._deadline is not None
        heard = reads._deadline.since
        await asyncio.sleep(0.01)
        remaining(reads)
        assert reads._deadline.since > heard
    reads.close()


async def test_without_an_idle_deadline_nothing_is_waited_for() -> None:
    reads, answer = TimedReads(Timeouts(100, None)), Answer()
    given: Any = answer
    await read(reads, failing(None))
    answer.said = 1
    reads.hear(given)
    assert remaining(reads) == pytest.approx(0, abs=0.9)
    reads.close()


async def test_who_hears_before_anything_is_read_waits_for_nothing() -> None:
    reads = TimedReads(Timeouts(100, 50))
    spoken: Any = Answer(said=1)
    reads.hear(spoken)
    reads.close()
    assert reads._deadline is None


@pytest.mark.parametrize(
    ("seconds", "idle", "may"),
    [(0, 4, True), (1.9, 4, True), (2, 4, False), (3, 4, False), (3, None, True)],
)
def test_what_nobody_hears_may_be_read_later_by_less_than_half_of_a_silence(
    seconds: float, idle: float | None, may: bool
) -> None:
    assert TimedReads(Timeouts(1, idle)).may_pause(seconds) is may


async def test_closing_stops_the_timer() -> None:
    reads = TimedReads(Timeouts(100, 50))
    await read(reads, failing(None))
    assert reads._deadline is not None
    reads.close()
    assert reads._deadline._timer.cancelled()


def test_the_older_httpx_breaks_like_the_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldError(Exception):
        pass

    monkeypatch.setitem(sys.modules, "httpx", SimpleNamespace(RequestError=OldError))
    assert {OldError, aiohttp.ClientError} <= {*broken_body()}
    monkeypatch.delitem(sys.modules, "httpx")
    assert httpx2.RequestError in broken_body()


def test_what_broke_is_named_as_the_sdk_does() -> None:
    late, broken = of_the_sdk(httpx2.ReadTimeout("x"), REQUEST), of_the_sdk(OSError(), REQUEST)
    assert (type(late), late.request) == (openai.APITimeoutError, REQUEST)
    assert (type(broken), broken.request) == (openai.APIConnectionError, REQUEST)
