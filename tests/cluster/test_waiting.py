"""A job that waits for a human, among two workers and two gateways, whoever of them dies."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from sluice.application.answer_input import AnswerInput
from sluice.application.metrics import JobMetrics
from sluice.application.pauses import Pauses
from sluice.application.process_chat import ProcessChat
from sluice.application.scheduling import Bounds
from sluice.domain.chat import Chat, Job, now
from sluice.domain.events import QUEUED, Cancelled, Done, Event, NeedsInput, Recorded, Reset, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.pauses import PostgresPauses
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.json_schema import check_value
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.redis.client import RedisClient
from tests.contract.postgres import drop
from tests.doubles import MockPipeline, a_job

PAUSE = Pause(Head("chat", "1"), (InputRequest("a", "?", "text"), InputRequest("b", "?", "text")))
FIRST, REST, DONE = Token("one ", "n"), Token("two", "n"), Done("A2", "one two")


class Member:
    """A process: of a gateway its queue and its answers, of a worker what it runs."""

    def __init__(
        self, url: str, database: PostgresDatabase, pipeline: MockPipeline, bounds: Bounds
    ) -> None:
        self.server = RedisClient.at(url)
        self.log = RedisEventLog(self.server)
        self.scheduler = RedisScheduler(self.server)
        self.queue = RedisJobQueue(self.scheduler, bounds)
        self.kept = PostgresPauses(database)
        self.answer = AnswerInput(self.kept, self.log, self.queue, check_value)
        pauses = Pauses(self.kept, self.log, timeout=60)
        chats = PostgresChats(database)
        process = ProcessChat(pipeline, self.log, chats, JobMetrics(), pauses)
        self.worker = JobWorker(self.scheduler, self.log, process, bounds)
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.worker.run())

    async def die(self) -> None:
        """Without a word: its leases lapse."""
        tasks: list[asyncio.Task[Any]] = [*self.worker._tasks, *self.worker._leases.values()]
        tasks += [lease.run for lease in self.worker._leases]
        for task in tasks:
            task.cancel()
        if self.running is not None:
            await asyncio.wait([self.running, *tasks])
            self.running = None

    async def aclose(self) -> None:
        if self.running is not None:
            await self.worker.drain(0)
            await asyncio.wait([self.running])
        await self.log.aclose()
        await self.server.aclose()


class House:
    def __init__(self, members: Sequence[Member], database: PostgresDatabase) -> None:
        self.one, self.other, self.gateway = members
        self.database = database

    async def asked(self) -> Job:
        """A job that waits, in its chat."""
        job = a_job()
        await PostgresChats(self.database).open(Chat(job.chat_id, job.user, None, now()))
        await PostgresChats(self.database).add_question(job)
        log = self.gateway.log
        await self.gateway.queue.submit(job, lambda: log.create(job, QUEUED))
        await self.count(paused=1)
        return job

    async def count(self, **wanted: int) -> None:
        async with asyncio.timeout(15):
            while True:
                counts = (await self.gateway.scheduler.count())._asdict()
                if wanted.items() <= counts.items():
                    return
                await asyncio.sleep(0.01)

    async def give(self, job: Job, *input_ids: str) -> None:
        for input_id in input_ids:
            await self.gateway.answer(job.user, job.id, input_id, input_id)

    async def read(self, job: Job) -> list[Recorded]:
        async with asyncio.timeout(20):
            batches = await self.gateway.log.follow(job.id, after=None)
            return [one async for batch in batches for one in batch]

    async def told(self, job: Job, events: int) -> None:
        """So many are in the log."""
        async with asyncio.timeout(10):
            batches = await self.gateway.log.follow(job.id, after=None)
            async with aclosing(batches):
                async for batch in batches:
                    events -= len(batch)
                    if events <= 0:
                        return

    async def lapse(self) -> None:
        """Every lease that nobody renews."""
        await self.gateway.server.ask("HINCRBY", "sluice:{jobs}:clock", "ms", 60_000)


@pytest.fixture
def pipeline() -> MockPipeline:
    return MockPipeline(FIRST, PAUSE, REST, DONE)


@pytest.fixture
async def house(redis_url: str, postgres_url: str, pipeline: MockPipeline) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        database = PostgresDatabase(postgres_url, schema=f"test_{secrets.token_hex(8)}")
        await database.open()
        stack.push_async_callback(database.aclose)
        stack.push_async_callback(database.run, drop)
        members = [Member(redis_url, database, pipeline, Bounds(running=1)) for _ in range(3)]
        for member in members:
            stack.push_async_callback(member.aclose)
        house = House(members, database)
        house.one.start()
        await house.count(workers=1)
        yield house


def events(records: Sequence[Recorded], attempt: int) -> list[Event]:
    return [one.event for one in records if one.id.attempt == attempt]


def asked_in(told: Sequence[Event]) -> list[str]:
    return [event.input_id for event in told if isinstance(event, NeedsInput)]


async def test_any_worker_goes_on_with_it_as_the_same_attempt(house: House) -> None:
    job = await house.asked()
    await house.one.worker.drain(0)
    house.other.start()
    await house.count(running=0, waiting=0, paused=1)
    await house.give(job, "a", "a", "b")
    records = await house.read(job)
    assert [str(one.id) for one in records] == [f"1-{n}" for n in range(1, 7)]
    assert records[-1].event == DONE
    await house.count(running=0, waiting=0, ending=0, paused=0)
    await house.give(job, "a", "b")
    await house.count(running=0, waiting=0, ending=0, paused=0)


async def test_a_slot_is_free_while_it_waits(house: House) -> None:
    job = await house.asked()
    second = a_job(chat_id="another")
    await PostgresChats(house.database).open(Chat("another", "ann", None, now()))
    await house.gateway.queue.submit(second, lambda: house.gateway.log.create(second, QUEUED))
    await house.count(paused=2)
    await house.give(second, "a", "b")
    assert (await house.read(second))[-1].event == DONE
    await house.give(job, "a", "b")
    assert (await house.read(job))[-1].event == DONE


async def test_a_worker_that_dies_when_it_has_asked_but_not_said_so_costs_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(house.one.scheduler, "pause", never)
    job = a_job()
    await PostgresChats(house.database).open(Chat(job.chat_id, job.user, None, now()))
    await house.gateway.queue.submit(job, lambda: house.gateway.log.create(job, QUEUED))
    await house.told(job, 4)
    await house.give(job, "a")
    await house.one.die()
    house.other.start()
    await house.lapse()
    await house.give(job, "b")
    records = await house.read(job)
    assert {one.id.attempt for one in records} == {1}
    assert records[-1].event == DONE


async def test_a_worker_that_dies_behind_the_answers_loses_none(
    house: House, pipeline: MockPipeline
) -> None:
    hangs = asyncio.Event()
    pipeline._plays = (FIRST, PAUSE, Token("half", "n"), hangs, DONE)
    job = await house.asked()
    await house.give(job, "a", "b")
    await house.told(job, 5)
    await house.one.die()
    pipeline._plays = (FIRST, PAUSE, REST, DONE)
    house.other.start()
    await house.lapse()
    second = events(await house.read(job), 2)
    assert second == [Reset("new_attempt"), QUEUED, FIRST, REST, DONE]
    assert pipeline.asked[-1].resumption is not None
    assert pipeline.asked[-1].resumption.answers == {"a": "a", "b": "b"}


async def test_a_gateway_that_dies_between_the_answer_and_the_waking_is_made_good(
    house: House,
) -> None:
    """It has said before that it is about to: some seconds later a worker looks."""
    job = await house.asked()
    await house.give(job, "a")
    await house.gateway.queue.wake(job.id, within=0.2)
    await house.gateway.kept.answer(job.id, "b", "b")
    assert (await house.read(job))[-1].event == DONE


async def test_looked_at_too_early_it_waits_on_and_asks_nothing_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await house.asked()
    pause, paused = house.one.scheduler.pause, asyncio.Event()

    async def once_more(*given: Any) -> None:
        await pause(*given)
        paused.set()

    monkeypatch.setattr(house.one.scheduler, "pause", once_more)
    await house.gateway.queue.wake(job.id)
    async with asyncio.timeout(10):
        await paused.wait()
    await house.count(paused=1)
    told = [one.event for one in (await house.gateway.log.read(job.id)).events]
    assert asked_in(told) == ["a", "b"]
    await house.gateway.queue.cancel(job.id, "user")
    records = await house.read(job)
    assert records[-1].event == Cancelled("user")
    assert records[-1].id.attempt == 1
