"""How long a stream's next words are waited for, by what it has said so far."""

from collections.abc import Iterable

import pytest

from sluice.domain.events import Usage
from sluice.infrastructure.llm.decoding import Delta, ToolCallPart
from sluice.infrastructure.llm.timeouts import StreamTimeouts

FIRST, IDLE = 100.0, 50.0
TAIL, CLOSING = 3, 1
TEXT = Delta("a")
THOUGHT = Delta(reasoning="hm")
CALL = Delta(tool_calls=(ToolCallPart(0, "c", "f", "{}"),))
STOP = Delta(finish_reason="stop")
TEXT_STOP = Delta("a", "stop")
BILL = Delta(usage=Usage(1, 2, 3))


def heard(deltas: Iterable[Delta]) -> StreamTimeouts:
    timeouts = StreamTimeouts(FIRST, IDLE)
    for delta in deltas:
        timeouts.hear(delta)
    timeouts.deadline.close()
    return timeouts


def waited(timeouts: StreamTimeouts) -> None:
    with timeouts.deadline:
        pass


@pytest.mark.parametrize(
    ("deltas", "seconds", "over"),
    [
        ([], FIRST, False),
        ([BILL], FIRST, False),
        ([TEXT], IDLE, False),
        ([THOUGHT], IDLE, False),
        ([CALL], IDLE, False),
        ([TEXT, BILL], IDLE, False),
        ([STOP], TAIL, True),
        ([TEXT, STOP], TAIL, True),
        ([TEXT_STOP], TAIL, True),
        ([TEXT_STOP, TEXT], IDLE, False),
        ([TEXT_STOP, THOUGHT], IDLE, False),
        ([TEXT_STOP, TEXT_STOP], IDLE, False),
        ([TEXT_STOP, TEXT_STOP, TEXT_STOP], IDLE, False),
        ([TEXT_STOP, TEXT_STOP, STOP], TAIL, True),
        ([TEXT_STOP, TEXT, BILL], TAIL, True),
        ([STOP, TEXT_STOP], IDLE, False),
        ([STOP, STOP], TAIL, True),
    ],
)
async def test_a_finish_reason_is_believed_until_more_is_said(
    deltas: list[Delta], seconds: float, over: bool
) -> None:
    timeouts = heard(deltas)
    assert timeouts.deadline.remaining == pytest.approx(seconds, abs=0.9)
    assert timeouts.over is over


@pytest.mark.parametrize("said", [TEXT, THOUGHT, CALL])
async def test_each_thing_said_restarts_the_deadline(said: Delta) -> None:
    timeouts = heard([TEXT])
    waited(timeouts)
    assert not timeouts.deadline.restarts
    timeouts.hear(said)
    assert timeouts.deadline.restarts


async def test_what_says_nothing_restarts_nothing() -> None:
    timeouts = heard([TEXT])
    waited(timeouts)
    timeouts.hear(BILL)
    assert not timeouts.deadline.restarts
    assert timeouts.hear(BILL), "a next text needs no more than the restart"


@pytest.mark.parametrize("again", [STOP, BILL])
async def test_an_end_that_is_said_twice_is_not_waited_for_twice(again: Delta) -> None:
    timeouts = heard([TEXT, STOP])
    waited(timeouts)
    timeouts.hear(again)
    assert not timeouts.deadline.restarts


@pytest.mark.parametrize(
    ("deltas", "steady"),
    [([BILL], False), ([TEXT], True), ([CALL], True), ([STOP], False), ([TEXT_STOP, TEXT], False)],
)
async def test_only_a_stream_that_has_begun_and_not_finished_is_steady(
    deltas: list[Delta], steady: bool
) -> None:
    *before, last = deltas
    assert heard(before).hear(last) is steady


@pytest.mark.parametrize("before", [[], [TEXT], [TEXT_STOP, TEXT]])
@pytest.mark.parametrize("late", [TEXT, STOP, TEXT_STOP])
async def test_behind_the_said_end_a_body_has_a_second_to_close(
    before: list[Delta], late: Delta
) -> None:
    timeouts = heard(before)
    timeouts.end_is_said()
    assert timeouts.over
    waited(timeouts)
    timeouts.end_is_said()
    timeouts.hear(late)
    assert timeouts.over
    assert not timeouts.deadline.restarts
    assert timeouts.deadline.remaining == pytest.approx(CLOSING, abs=0.9)


@pytest.mark.parametrize(("seconds", "may"), [(0, True), (1.9, True), (2, False), (3, False)])
async def test_what_is_said_may_be_heard_later_by_less_than_half_of_a_silence(
    seconds: float, may: bool
) -> None:
    timeouts = StreamTimeouts(30, 4)
    assert timeouts.may_pause(seconds) is may
    timeouts.deadline.close()
