"""A store of the log as a test opens it, and a script that knows what its log must hold."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

from fakeredis.aioredis import FakeRedis

from sluice.application.coalescing import MAX_TOKEN_BYTES
from sluice.application.ports import EventLogPort
from sluice.domain.chat import Job, Turn, new_id
from sluice.domain.events import (
    Cursor,
    Data,
    Done,
    Event,
    Json,
    Reasoning,
    Recorded,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
    Tool,
)
from sluice.domain.ports import NotifierPort
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import publish

FIRST = StageCompleted("queued", 0)


DONE = Done("A2", "무색 answer")


@dataclass
class Store:
    """`fresh` opens one more log over the same store: what it tells comes from there."""

    log: EventLogPort
    fresh: Callable[[], Awaitable[EventLogPort]]


async def store_of(kind: str, folder: Path, stack: AsyncExitStack, retention: float) -> Store:
    if kind == "memory":
        log = MemoryEventLog(retention=retention)
        return Store(log, lambda: asyncio.sleep(0, log))
    if "redis" in kind:
        server = RedisClient(FakeRedis(protocol=2)) if kind == "fakeredis" else RedisClient.at(kind)
        stack.push_async_callback(server.aclose)

        async def another() -> EventLogPort:
            log = RedisEventLog(server, retention=retention)
            stack.push_async_callback(log.aclose)
            return log

        return Store(await another(), another)
    database = SqliteDatabase(folder / "sluice.db")
    await database.open()
    stack.push_async_callback(database.aclose)

    async def fresh() -> EventLogPort:
        log = SqliteEventLog(database, retention=retention)
        await log.open()
        stack.push_async_callback(log.aclose)
        return log

    return Store(await fresh(), fresh)


def a_job(chat_id: str = "chat") -> Job:
    history = (Turn("system", "왜"), Turn("user", ""), Turn("assistant", "because"))
    metadata: dict[str, Json] = {"deep": [1, None]}
    job_id = new_id()
    return Job(job_id, chat_id, "ann", "A2", "왜?", "request", metadata=metadata, history=history)


async def begun(log: EventLogPort) -> tuple[Job, NotifierPort]:
    job = a_job()
    await log.create(job, FIRST)
    return job, await log.begin(job.id)


async def rest(batches: AsyncGenerator[Sequence[Recorded], None]) -> list[Recorded]:
    async with asyncio.timeout(5), aclosing(batches):
        return [recorded async for batch in batches for recorded in batch]


async def followed(log: EventLogPort, job: Job, after: Cursor | None = None) -> list[Recorded]:
    return await rest(await log.follow(job.id, after=after))


def assert_same(got: Sequence[Recorded], expected: Sequence[Recorded]) -> None:
    """The same events in order, but for tokens that were joined under the last one's id."""
    left = iter(expected)
    for recorded in got:
        one = next(left)
        if not isinstance(recorded.event, Token | Reasoning):
            assert (recorded.id, recorded.event) == (one.id, one.event)
            continue
        text = ""
        while True:
            assert type(one.event) is type(recorded.event)
            assert (one.event.node, one.id.attempt) == (recorded.event.node, recorded.id.attempt)
            text += one.event.content
            if one.id == recorded.id:
                break
            one = next(left)
        assert recorded.event.content == text
        assert len(text.encode()) <= MAX_TOKEN_BYTES or text == one.event.content
    assert list(left) == []


class Script:
    """Publishes, and knows what the log must hold."""

    def __init__(self, log: EventLogPort, job: Job) -> None:
        self.log, self.job = log, job
        self.records = [Recorded(Cursor(1, 1), FIRST)]
        self.attempt = self.seq = 0

    async def begin(self) -> None:
        self.notifier = await self.log.begin(self.job.id)
        self.attempt += 1
        self.seq = 1 if self.attempt == 1 else 0
        assert self.notifier.attempt == self.attempt

    async def publish(self, *events: Event) -> None:
        await publish(self.notifier, *events)
        for event in events:
            self.seq += 1
            self.records.append(Recorded(Cursor(self.attempt, self.seq), event))


async def a_script(log: EventLogPort) -> Script:
    """Two attempts, two nodes, stages, a revision, an end."""
    job = a_job()
    await log.create(job, FIRST)
    script = Script(log, job)
    await script.begin()
    await script.publish(StageStarted("answer", 10))
    await script.publish(Token("lo", "answer"), Token("st", "answer"))
    await script.publish(Reasoning("a", "answer"), Reasoning("무", "answer"))
    await script.publish(Tool("1", "look", "tools", "arguments", "0", "{}"))
    await script.publish(Data("sources", [{"title": "\u2028"}, None, 1.5], "find"))
    await script.begin()
    await script.publish(Reset("new_attempt"), FIRST)
    await script.publish(StageStarted("answer", 10, "무엇"))
    for text in ("a\r\n\ndata: x\n\n", "\0 \u2028", "👩‍👩‍👧", "b"):
        await script.publish(Token(text, "outer/answer"))
    await script.publish(Token("c", "closing"))
    await script.publish(Reset("revised"), Token("무색 answer", "closing"))
    await script.publish(StageCompleted("answer", 100), DONE)
    return script


def of(log: EventLogPort) -> Sequence[Callable[[str], Awaitable[object]]]:
    return log.job, log.read, log.attempts, log.begin
