"""One key is one question and one answer, whatever becomes of the gateways that take it.

Every step of a submission fails in turn, on its way or obeyed with its answer lost, and stands
still in turn while an equal request goes on at another gateway.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest

from sluice.application.metrics import JobMetrics
from sluice.application.pauses import Pauses
from sluice.application.ports import Accepted
from sluice.application.process_chat import ProcessChat
from sluice.application.scheduling import Bounds
from sluice.application.submit import NewMessage, SubmitMessage
from sluice.application.unread import CancelUnread
from sluice.domain.errors import Unavailable
from sluice.domain.events import Done, Token
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.redis.client import RedisClient, Word
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import FixedFlag, MockPipeline

STEPS = [
    *("claim", "is it over", "is it answered", "is it there", "admit"),
    *("ask", "is it made", "list", "make", "is its chat there", "ready"),
]
LOST = [{0}, {0, 1}, {0, 1, 2}, {0, 2}, {0, 3}]
"""What fails, counted from the first step that does."""
DONE = Done("A2", "a")


@dataclass
class Steps:
    """What a gateway asks of its stores, counted from nought."""

    lost: Container[int] = ()
    obeyed: bool = False
    halt: int = -1
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    taken: int = 0

    async def take(self, step: Callable[[], Awaitable[Any]]) -> Any:
        number = self.taken
        self.taken += 1
        if number == self.halt:
            self.halted.set()
            await self.go_on.wait()
        if number not in self.lost:
            return await step()
        if self.obeyed:
            await step()
        raise Unavailable


_steps: ContextVar[Steps] = ContextVar("_steps")
"""Of the request that is being served."""


class SteppedClient(RedisClient):
    async def ask(self, *command: Word) -> Any:
        ask = super().ask
        return await _steps.get().take(lambda: ask(*command))

    async def run(self, script: str, keys: Any, *arguments: Word) -> Any:
        run = super().run
        return await _steps.get().take(lambda: run(script, keys, *arguments))


class Stepped:
    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return lambda *given: _steps.get().take(lambda: getattr(self._inner, name)(*given))


class Gateway:
    def __init__(self, url: str, database: SqliteDatabase) -> None:
        self.server = SteppedClient.at(url)
        self.log = RedisEventLog(self.server)
        queue = RedisJobQueue(RedisScheduler(self.server), Bounds())
        adapters = SqliteChats, SqliteSessions, SqliteIdempotency
        stepped: list[Any] = [Stepped(adapter(database)) for adapter in adapters]
        self._submit = SubmitMessage(
            *(*stepped, self.log, queue, FixedFlag(), CancelUnread(queue, self.log))
        )

    async def ask(self, key: str | None, steps: Steps) -> Accepted:
        _steps.set(steps)
        return await self._submit(NewMessage("ann", "request", message="Why?", idempotency_key=key))

    async def insist(self, key: str, steps: Steps | None = None) -> Accepted:
        """As a client does: until it is told that there is a job."""
        steps = steps or Steps()
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.ask(key, steps)
                except Unavailable:
                    await asyncio.sleep(0.02)


class House:
    """Gateways and a worker."""

    def __init__(self, url: str, database: SqliteDatabase) -> None:
        self.chats = SqliteChats(database)
        gateways = [Gateway(url, database) for _ in range(3)]
        self.one, self.other, self.third = self.gateways = gateways
        self.server = RedisClient.at(url)
        self.log = RedisEventLog(self.server)
        self.scheduler = RedisScheduler(self.server)
        pipeline = MockPipeline(Token("a", "x"), DONE)
        pauses = Pauses(SqlitePauses(database), self.log, timeout=60)
        process = ProcessChat(pipeline, self.log, self.chats, JobMetrics(), pauses)
        self.worker = JobWorker(self.scheduler, self.log, process, Bounds())

    async def idle(self) -> None:
        while any((await self.scheduler.count())[1:]):  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(0.01)

    async def judge(self, key: str, *told: Accepted) -> None:
        """What was `told` is the key's job; it is answered, once, and nothing else is left."""
        accepted = await self.other.insist(key)
        assert set(told) <= {accepted}
        async with asyncio.timeout(10):
            batches = await self.log.follow(accepted.job_id, after=None)
            assert [one.event async for batch in batches for one in batch][-1] == DONE
            await self.idle()
            assert await self.log.unfinished() == []
        said = await self.chats.messages("ann", accepted.chat_id)
        assert [(one.role, one.job_id) for one in said] == [
            ("user", accepted.job_id), ("assistant", accepted.job_id),
        ]  # fmt: skip


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    database = SqliteDatabase(":memory:")
    await database.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.aclose)
        house = House(redis_url, database)
        for gateway in house.gateways:
            stack.push_async_callback(gateway.server.aclose)
            stack.push_async_callback(gateway.log.aclose)
        stack.push_async_callback(house.server.aclose)
        stack.push_async_callback(house.log.aclose)
        running = asyncio.create_task(house.worker.run())
        stack.push_async_callback(asyncio.wait, [running])
        stack.push_async_callback(house.worker.drain, 0)
        async with asyncio.timeout(10):
            while not (await house.scheduler.count()).workers:  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0.01)
        yield house


each_step = pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)


def failing(first: int, key: str = "") -> list[tuple[str, Steps]]:
    """Ways to fail from that step on, each with a key of its own."""
    ways = [(lost, obeyed) for lost in LOST for obeyed in (False, True)]
    return [
        (f"{key}{first}/{number}", Steps({first + n for n in lost}, obeyed))
        for number, (lost, obeyed) in enumerate(ways)
    ]


@each_step
async def test_a_gateway_whose_stores_go_away(house: House, step: int) -> None:
    for key, steps in failing(step):
        accepted = await house.one.insist(key, steps)
        assert steps.taken > step
        await house.judge(key, accepted)


@each_step
async def test_a_gateway_that_wakes_up_when_all_is_over(house: House, step: int) -> None:
    for key, steps in [("well", Steps()), *failing(step)]:
        steps.halt = step
        late = asyncio.create_task(house.one.ask(key, steps))
        await steps.halted.wait()
        accepted = await house.other.insist(key)
        await house.judge(key, accepted)
        steps.go_on.set()
        await asyncio.wait([late])
        await house.judge(key, accepted, *told(late))


@each_step
async def test_a_gateway_that_wakes_up_when_another_one_has_failed(house: House, step: int) -> None:
    for other_step in range(len(STEPS)):
        for key, failure in failing(other_step, f"{step} "):
            steps = Steps(halt=step)
            late = asyncio.create_task(house.other.ask(key, steps))
            await steps.halted.wait()
            failed = asyncio.create_task(house.one.ask(key, failure))
            await asyncio.wait([failed])
            steps.go_on.set()
            await asyncio.wait([late])
            await house.judge(key, *told(failed), *told(late))


async def test_a_log_that_is_made_when_its_job_was_given_up_is_ended(house: House) -> None:
    late = Steps(halt=STEPS.index("make"))
    making = asyncio.create_task(house.other.ask("key", late))
    await late.halted.wait()
    with pytest.raises(Unavailable):
        await house.one.ask("key", Steps({STEPS.index("ask")}))
    await house.idle()  # a worker has looked for the log, and found none
    late.go_on.set()
    await house.judge("key", await making)


async def test_a_job_that_was_given_up_after_its_end_stays_the_keys(house: House) -> None:
    admit = STEPS.index("admit")
    failing, patient = Steps({admit}, obeyed=True, halt=admit), Steps(halt=admit)
    late = asyncio.create_task(house.one.ask("key", failing))
    later = asyncio.create_task(house.third.ask("key", patient))
    await failing.halted.wait()
    await patient.halted.wait()
    accepted = await house.other.insist("key")
    await house.judge("key", accepted)
    failing.go_on.set()
    with pytest.raises(Unavailable):
        await late
    patient.go_on.set()
    await house.judge("key", accepted, await later)


def told(asked: asyncio.Task[Accepted]) -> list[Accepted]:
    """A refusal says nothing of the job."""
    error = asked.exception()
    assert isinstance(error, Unavailable | None)
    return [] if error else [asked.result()]


async def test_a_last_step_that_may_be_done_is_asked_for_again(house: House) -> None:
    """Without a key a refusal would be asked again as another question."""
    keyless = len(STEPS) - 4
    steps = Steps({keyless - 1}, obeyed=True)
    accepted = await house.one.ask(None, steps)
    assert steps.taken == keyless + 1
    batches = await house.log.follow(accepted.job_id, after=None)
    assert [one.event async for batch in batches for one in batch][-1] == DONE
