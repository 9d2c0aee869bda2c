"""Reading a log: its owner only, from any cursor, so many streams at once and no more."""

import asyncio
from typing import Any

import pytest

from sluice.application.follow import FollowJob
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Job
from sluice.domain.errors import Finished, LimitReached, NotFound
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    Cursor,
    Done,
    Event,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from sluice.interfaces.protocols.native.encoder import encoder_for
from tests.doubles import a_job, publish
from tests.use_cases import UseCases, use_cases

pytestmark = pytest.mark.usefixtures("no_task_left")

STARTED, DONE = StageStarted("answer", 10), Done("A2", "abc")
WORDS = [Token(word, "answer") for word in "abc"]


async def told(house: UseCases) -> Job:
    """A finished job: ids 1-1 queued, 1-2 started, 1-3 to 1-5 words, 1-6 done."""
    return await house.a_log(STARTED, *WORDS, DONE)


async def test_a_late_reader_reads_everything_in_fewer_pieces() -> None:
    async with use_cases() as house:
        job = await told(house)
        assert await house.read(job.id) == [QUEUED, STARTED, Token("abc", "answer"), DONE]


async def test_a_reader_that_keeps_up_reads_each_token_by_itself() -> None:
    async with use_cases() as house:
        job = await house.a_log()
        notifier = await house.log.begin(job.id)
        batches = await house.follow("ann", job.id, after=None)
        seen = [*(await anext(batches)).events]
        events: list[Event] = [STARTED, *WORDS, DONE]
        for event in events:
            await publish(notifier, event)
            seen += (await anext(batches)).events
        assert [one.event for one in seen] == [QUEUED, *events]
        await batches.aclose()


@pytest.mark.usefixtures("no_generator_left")
async def test_who_leaves_closes_the_reading_of_the_log() -> None:
    async with use_cases() as house:
        job = await house.a_log()
        batches = await house.follow("ann", job.id, after=None)
        await anext(batches)
        await batches.aclose()  # `no_generator_left`: and so was what it read from


@pytest.mark.parametrize(
    ("after", "rest"),
    [
        (Cursor(1, 0), [QUEUED, STARTED, Token("abc", "answer"), DONE]),
        (Cursor(1, 2), [Token("abc", "answer"), DONE]),
        (Cursor(1, 4), [Token("c", "answer"), DONE]),
        (Cursor(1, 5), [DONE]),
        (Cursor(7, 7), [Reset("cursor_unknown"), QUEUED, STARTED, Token("abc", "answer"), DONE]),
    ],
)
async def test_a_reader_goes_on_behind_its_cursor(after: Cursor, rest: list[object]) -> None:
    async with use_cases() as house:
        job = await told(house)
        assert await house.read(job.id, after=after) == rest


async def test_the_terminal_events_cursor_has_nothing_behind_it() -> None:
    async with use_cases() as house:
        job = await told(house)
        with pytest.raises(Finished):
            await house.follow("ann", job.id, after=Cursor(1, 6))


@pytest.mark.parametrize("after", [None, Cursor(1, 6)])
async def test_anothers_job_is_like_one_that_never_was(after: Cursor | None) -> None:
    async with use_cases() as house:
        job = await told(house)
        for user, job_id in (("bob", job.id), ("ann", "nobodys")):
            with pytest.raises(NotFound, match=job_id):
                await house.follow(user, job_id, after=after)


async def test_a_user_has_so_many_streams_and_another_has_others() -> None:
    async with use_cases(streams=2) as house:
        mine, bobs = await house.a_log(), await house.a_log(job=a_job(user="bob", chat_id="b"))
        open_ones = [await house.follow("ann", mine.id, after=None) for _ in range(2)]
        for stream in open_ones:
            await anext(stream)
        with pytest.raises(LimitReached, match=r"^too many open streams$") as busy:
            await house.follow("ann", mine.id, after=None)
        assert busy.value.per_user
        others = await house.follow("bob", bobs.id, after=None)
        await anext(others)
        await open_ones[0].aclose()
        again = await house.follow("ann", mine.id, after=None)
        for stream in (*open_ones, others, again):
            await stream.aclose()
        assert house.follow_job.open == {}


async def test_streams_that_are_opened_at_once_are_bounded_like_others() -> None:
    """A stream counts from the moment it was granted, before anything of it is read."""
    async with use_cases(streams=2) as house:
        job = await house.a_log()
        streams = [await house.follow("ann", job.id, after=None) for _ in range(2)]
        with pytest.raises(LimitReached):
            await house.follow("ann", job.id, after=None)
        for stream in streams:
            await stream.aclose()
        assert house.follow_job.open == {}


async def test_a_stream_that_nobody_comes_to_read_stops_counting() -> None:
    async with use_cases(streams=1) as house:
        job = await house.a_log()
        await house.follow("ann", job.id, after=None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert house.follow_job.open == {}


async def test_without_a_bound_there_is_none() -> None:
    async with use_cases(streams=None) as house:
        job = await house.a_log()
        streams = [await house.follow("ann", job.id, after=None) for _ in range(200)]
        for stream in streams:
            await anext(stream)
            await stream.aclose()


async def test_a_stream_refused_because_its_job_is_over_does_not_count() -> None:
    async with use_cases(streams=1) as house:
        job = await told(house)
        with pytest.raises(Finished):
            await house.follow("ann", job.id, after=Cursor(1, 6))
        assert len(await house.read(job.id)) == 4


async def test_a_reader_may_leave_at_every_point() -> None:
    async with use_cases() as house:
        job = await told(house)
        for count in range(4):
            stream = await house.follow("ann", job.id, after=None)
            for _ in range(count):
                await anext(stream, None)
            await stream.aclose()
        assert house.follow_job.open == {}


async def test_how_far_readers_lag_is_counted_once() -> None:
    async with use_cases() as house:
        job = await told(house)
        await house.read(job.id)
        assert (house.metrics.take_lag(), house.metrics.take_lag()) == (6, 0)


async def test_a_job_whose_only_reader_leaves_is_cancelled_where_nobody_may_be_away() -> None:
    async with use_cases(STARTED, asyncio.Event()) as house:
        readers = CancelUnread(house.queue, house.log, after=0)
        follow = FollowJob(house.log, readers, house.metrics, house.deliveries)
        accepted = await house.ask()
        job_id = accepted.job_id
        staying, leaving = [
            await follow("ann", job_id, after=None, encoder_for=encoder_for) for _ in range(2)
        ]
        await anext(leaving)
        await leaving.aclose()
        assert await house.unfinished() == [job_id]
        await anext(staying)
        await staying.aclose()
        async with asyncio.timeout(5):
            assert (await house.read(job_id))[-1] == Cancelled("orphaned")


class Thrice:
    """An encoder that has three frames for each event."""

    initial = None
    joins_tokens = False

    def encode(self, _state: None, _before: Cursor, recorded: Recorded, /) -> Any:
        return None, [f"{recorded.id}/{n} ".encode() for n in range(3)]


async def test_a_reader_may_begin_within_an_events_frames_and_be_pushed_to() -> None:
    async with use_cases() as house:
        job, encoder, pushed = await house.a_log(), Thrice(), list[bytes]()

        def push(body: bytes) -> bool:
            pushed.append(body)
            return True

        async def follow(**options: Any) -> Any:
            return await house.follow_job(
                "ann", job.id, after=None, encoder_for=lambda _: encoder, **options
            )

        notifier = await house.log.begin(job.id)
        whole, rest = await follow(), await follow(skip=2, push=push)
        assert (await anext(whole)).body == b"1-1/0 1-1/1 1-1/2 "
        assert (await anext(rest)).body == b"1-1/2 "
        waiting = asyncio.create_task(anext(rest))
        await asyncio.sleep(0)
        notifier.publish(WORDS[0])
        assert pushed == [b"1-2/0 1-2/1 1-2/2 "]
        waiting.cancel()
        await asyncio.wait([waiting])
        await whole.aclose()
