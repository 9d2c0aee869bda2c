"""What becomes of an answer's bytes, whoever reads them."""

from math import inf

import pytest

from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.infrastructure.llm.body import Body
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.receiver import Receiver
from sluice.infrastructure.llm.timeouts import StreamTimeouts

CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
COST = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def says(text: str, finish_reason: str = "null") -> bytes:
    return (CHUNK % (text, finish_reason)).encode()


@pytest.fixture
def heard() -> list[Delta]:
    return []


@pytest.fixture
async def timeouts() -> StreamTimeouts:
    return StreamTimeouts(30, 20)


@pytest.fixture
async def receiver(heard: list[Delta], timeouts: StreamTimeouts) -> Receiver:
    return Receiver(heard.append, timeouts, 100, 0.1)


async def test_deltas_are_heard_in_order_and_counted(
    receiver: Receiver, heard: list[Delta]
) -> None:
    assert not receiver.take(says("a") + says("나"))
    assert ([delta.text for delta in heard], receiver.heard) == (["a", "나"], 2)


@pytest.mark.parametrize(("seconds", "enough"), [(0, 1), (0.1, 64), (inf, None)])
async def test_whoever_waits_is_woken_when_it_is_worth_it(
    timeouts: StreamTimeouts, seconds: float, enough: int | None
) -> None:
    receiver = Receiver(lambda _: None, timeouts, 1000, seconds)
    woken = [number for number in range(1, 200) if receiver.take(says("a"))]
    assert (woken[0] if woken else None) == enough


async def test_without_an_interval_it_is_woken_by_each_read(timeouts: StreamTimeouts) -> None:
    assert Receiver(lambda _: None, timeouts, 100, 0).take(b": warm\n\n")


async def test_what_it_says_of_itself_is_kept(receiver: Receiver) -> None:
    receiver.take(says("a") + says("b", '"length"'))
    receiver.take(b'data: {"choices":[],"usage":%b}\n\n' % str(COST).replace("'", '"').encode())
    receiver.take(says(""))
    assert (receiver.usage, receiver.finish_reason) == (Usage(1, 2, 3), "length")


@pytest.mark.parametrize(
    ("text", "fits"), [("a" * 100, True), ("a" * 101, False), ("가" * 34, False)]
)
async def test_an_answer_is_bounded_in_bytes(
    receiver: Receiver, heard: list[Delta], text: str, fits: bool
) -> None:
    assert receiver.take(says(text)) is not fits
    assert bool(heard) is fits
    if not fits:
        with pytest.raises(errors.AnswerTooLarge):
            receiver.check()
    receiver.check()


async def test_its_first_error_is_raised_once_it_is_asked_for(
    receiver: Receiver, heard: list[Delta]
) -> None:
    assert receiver.take(says("a") + b"data: {broken\n\n")
    receiver.fail(errors.UpstreamTimeout())
    assert [delta.text for delta in heard] == ["a"]
    with pytest.raises(errors.UpstreamBadResponse):
        receiver.check()


async def test_another_error_of_whoever_hears_is_not_the_calls(timeouts: StreamTimeouts) -> None:
    def hear(_: Delta) -> None:
        raise LookupError

    receiver = Receiver(hear, timeouts, 100, 0)
    with pytest.raises(LookupError):
        receiver.take(says("a"))


async def test_only_a_finish_reason_ends_it(receiver: Receiver) -> None:
    receiver.take(says("a"))
    with pytest.raises(errors.UpstreamTruncated):
        receiver.check_end()
    receiver.take(says("", '"stop"').removesuffix(b"\n"))
    with pytest.raises(errors.UpstreamTruncated):
        receiver.check_end()
    receiver.end()
    receiver.check_end()


async def test_what_is_said_counts_the_deadline_anew_at_once(
    receiver: Receiver, timeouts: StreamTimeouts
) -> None:
    receiver.take(says("a"))
    assert timeouts.deadline.remaining == pytest.approx(20, abs=0.9)
    for data, anew in ((b": warm\n\n", False), (says("b"), True)):
        timeouts.deadline.since -= 10
        receiver.take(data)
        assert (timeouts.deadline.remaining > 15) is anew


async def test_done_lets_the_body_end_soon(receiver: Receiver, timeouts: StreamTimeouts) -> None:
    receiver.take(says("a", '"stop"'))
    assert timeouts.deadline.remaining == pytest.approx(3, abs=0.9)
    receiver.take(b"data: [DONE]\n\n")
    assert timeouts.deadline.remaining <= 1


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("broken", "error"),
    [(ConnectionResetError(), errors.UpstreamDisconnected), (None, errors.UpstreamTimeout)],
)
async def test_a_break_is_the_end_of_a_finished_answer_only(
    heard: list[Delta], finished: bool, broken: Exception | None, error: type[Exception]
) -> None:
    async def read() -> bytes:
        if broken is not None:
            raise broken
        raise errors.UpstreamTimeout

    receiver = Receiver(heard.append, StreamTimeouts(30, 30), 100, 0)
    receiver.take(says("a", '"stop"' if finished else "null"))
    assert await receiver.more(Body(read), 0) is not finished
    if not finished:
        with pytest.raises(error) as raised:
            receiver.check()
        assert raised.value.__cause__ is broken
    receiver.check()


async def test_what_is_read_is_taken(receiver: Receiver, heard: list[Delta]) -> None:
    reads = [says("a"), b""]

    async def read() -> bytes:
        return reads.pop(0)

    body = Body(read)
    assert [await receiver.more(body, 0.1), await receiver.more(body, 0.1)] == [True, False]
    assert [delta.text for delta in heard] == ["a"]
