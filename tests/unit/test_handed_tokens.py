"""Who is told that a reader was handed a token where it stands, and what a stream tells besides."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sluice.application.encoding import Batch, Encoder, Push
from sluice.application.follow import FollowJob
from sluice.application.spans import NoSpans
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Job
from sluice.domain.events import QUEUED, Reasoning, StageStarted, Token
from sluice.infrastructure.event_log.log import Attempt
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import a_job
from tests.http.protocols.toy.encoder import ToyEncoder
from tests.use_cases import use_cases

A, THOUGHT = Token("a", "answer"), Reasoning("hm", "answer")
ENCODER = ToyEncoder("job", joins_tokens=False)


@dataclass
class Reader:
    """Has read the log's beginning, and waits for more."""

    batches: AsyncGenerator[Batch, None]
    reading: "asyncio.Task[Batch]" = field(init=False)

    async def waits(self) -> None:
        await anext(self.batches)
        self.reading = asyncio.ensure_future(anext(self.batches))
        await asyncio.sleep(0)

    async def leaves(self) -> None:
        self.reading.cancel()
        await asyncio.wait([self.reading])
        await self.batches.aclose()


class Watched:
    """A job's log, and how often somebody was told of a handed token."""

    def __init__(self, log: MemoryEventLog, job: Job, notifier: Attempt) -> None:
        self.log, self.job, self.notifier = log, job, notifier
        self.told: list[str] = []
        self.readers: list[Reader] = []

    async def reader(self, push: Push | None, who: str | None = "one") -> None:
        handed = who and (lambda: self.told.append(who))
        batches = await self.log.follow_encoded(
            self.job.id, after=None, encoder=ENCODER, push=push, handed=handed or None
        )
        self.readers.append(Reader(batches))
        await self.readers[-1].waits()


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    log, job = MemoryEventLog(), a_job()
    await log.create(job, QUEUED)
    watched = Watched(log, job, await log.begin(job.id))
    yield watched
    for reader in watched.readers:
        await reader.leaves()


def taken(_: bytes) -> bool:
    return True


def refused(_: bytes) -> bool:
    return False


async def test_a_token_that_several_take_is_told_of_once(watched: Watched) -> None:
    for _ in range(3):
        await watched.reader(taken)
    watched.notifier.publish(A)
    assert watched.told == ["one"]
    watched.notifier.publish(A)
    assert watched.told == ["one", "one"]


async def test_it_is_told_where_only_the_first_takes_it(watched: Watched) -> None:
    await watched.reader(taken)
    await watched.reader(refused)
    watched.notifier.publish(A)
    assert watched.told == ["one"]


@pytest.mark.parametrize("push", [refused, None])
async def test_what_nobody_takes_where_it_stands_is_not_told(
    watched: Watched, push: Push | None
) -> None:
    await watched.reader(push)
    watched.notifier.publish(A)
    assert watched.told == []


async def test_a_thought_is_no_token(watched: Watched) -> None:
    await watched.reader(taken)
    watched.notifier.publish(A)
    watched.notifier.publish(THOUGHT)
    assert watched.told == ["one"]
    watched.notifier.publish(A)
    assert watched.told == ["one", "one"]


async def test_who_asks_for_nothing_takes_nothing_away(watched: Watched) -> None:
    await watched.reader(taken)
    await watched.reader(taken, who=None)
    watched.notifier.publish(A)
    assert watched.told == ["one"]


async def test_without_anybody_to_tell_a_token_is_handed_all_the_same(watched: Watched) -> None:
    pushed: list[bytes] = []

    def push(body: bytes) -> bool:
        pushed.append(body)
        return True

    await watched.reader(push, who=None)
    watched.notifier.publish(A)
    assert len(pushed) == 1


class Spans(NoSpans):
    """Keeps whose jobs are delivered."""

    def __init__(self) -> None:
        self.delivered: list[Job] = []

    @contextmanager
    def delivery(self, job: Job) -> Iterator[None]:
        self.delivered.append(job)
        yield


@asynccontextmanager
async def a_house(spans: Spans) -> AsyncIterator[tuple[Any, FollowJob]]:
    async with use_cases() as house:
        readers = CancelUnread(house.queue, house.log)
        yield house, FollowJob(house.log, readers, house.metrics, house.deliveries, spans=spans)


async def test_a_stream_has_its_jobs_encoder_and_span_and_counts_as_a_delivery() -> None:
    spans, asked = Spans(), list[Job]()

    def encoder_for(job: Job) -> Encoder:
        asked.append(job)
        return ENCODER

    async with a_house(spans) as (house, follow):
        job = await house.a_log(StageStarted("answer", 10))
        delivery = house.deliveries.of(job)
        notifier = await house.log.begin(job.id)
        batches = await follow("ann", job.id, after=None, encoder_for=encoder_for, push=taken)
        assert (asked, spans.delivered) == ([job], [])
        reader = Reader(batches)
        await reader.waits()
        assert spans.delivered == [job]
        assert (delivery.readers, delivery.first_at) == (1, None)
        notifier.publish(A)
        assert delivery.first_at is not None
        await reader.leaves()
