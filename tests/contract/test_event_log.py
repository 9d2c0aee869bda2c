"""What every store of the log promises. A new store joins with one more fixture parameter."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakeredis.aioredis import FakeRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.coalescing import MAX_TOKEN_BYTES, size_of
from sluice.application.encoding import Batch, Push
from sluice.application.ports import EventLogPort
from sluice.domain.chat import Job, Turn, new_id
from sluice.domain.errors import Finished, NotFound, Superseded, Unavailable
from sluice.domain.events import (
    TERMINAL,
    Cancelled,
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
from sluice.domain.rollout import Flag
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.interfaces.protocols.native.encoder import NATIVE
from tests.doubles import publish
from tests.frames import recorded_in
from tests.http.protocols.toy.encoder import ToyEncoder

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


@pytest.fixture(params=["memory", "sqlite", "fakeredis", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """For the real Redis, its address."""
    if request.param == "fakeredis":
        pytest.importorskip("lupa")
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return str(request.param)


@pytest.fixture
async def store(kind: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        yield await store_of(kind, tmp_path, stack, 3600)


@pytest.fixture
def log(store: Store) -> EventLogPort:
    return store.log


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


async def encoded(log: EventLogPort, job: Job, push: Push) -> AsyncGenerator[Batch, None]:
    return await log.follow_encoded(job.id, after=None, encoder=NATIVE, push=push)


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


async def test_the_log_begins_with_the_event_it_was_created_with(log: EventLogPort) -> None:
    job = a_job()
    await log.create(job, FIRST)
    assert await log.job(job.id) == job
    assert (await log.read(job.id)).events == [Recorded(Cursor(1, 1), FIRST)]


@pytest.mark.parametrize("rollout", [None, "r"])
async def test_a_job_comes_back_as_it_was_with_the_flag_it_was_drawn_by(
    store: Store, rollout: str | None
) -> None:
    flag = Flag(12.5, "control", "control", rollout)
    job = Job(new_id(), "c", "u", "A2", "왜?", "r", "m", {"a": [1]}, "j", flag=flag)
    await store.log.create(job, FIRST)
    assert await (await store.fresh()).job(job.id) == job
    assert await store.log.unfinished() == [job]


async def test_a_job_of_an_earlier_version_has_no_flag(store: Store) -> None:
    job = Job(new_id(), "c", "u", "A2", "why?", "r")
    await store.log.create(job, FIRST)
    assert (await (await store.fresh()).job(job.id)).flag is None


async def test_creating_a_job_again_changes_nothing(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        await log.create(script.job, FIRST)
        assert_same((await log.read(script.job.id)).events, script.records)


async def test_equal_creations_at_once_make_one_log(log: EventLogPort) -> None:
    job = a_job()
    await asyncio.gather(*(log.create(job, FIRST) for _ in range(10)))
    notifier = await log.begin(job.id)
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


def of(log: EventLogPort) -> Sequence[Callable[[str], Awaitable[object]]]:
    return log.job, log.read, log.attempts, log.begin


async def test_an_unknown_job_is_not_found(log: EventLogPort) -> None:
    def follow(job_id: str) -> Awaitable[object]:
        return log.follow(job_id, after=None)

    for call in (*of(log), follow):
        with pytest.raises(NotFound):
            await call("nowhere")


async def test_an_open_store_is_well(log: EventLogPort) -> None:
    await log.check()


async def test_a_log_reads_the_same_live_late_and_from_the_store(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    live = asyncio.create_task(followed(store.log, job))
    script = Script(store.log, job)
    await script.begin()
    for number in range(300):
        await script.publish(Token(f"{number} 무", "answer"))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await script.publish(DONE)
    assert_same(await live, script.records)
    for log in (store.log, await store.fresh()):
        assert_same(await followed(log, job), script.records)
        whole = await log.read(job.id)
        assert_same(whole.events, script.records)
        assert whole.job == job
        assert whole.ended_at is not None


async def test_a_reader_that_keeps_up_gets_each_token_by_itself(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    batches = await log.follow(job.id, after=Cursor(1, 1))
    async with asyncio.timeout(5), aclosing(batches):
        for number in range(5):
            notifier.publish(token := Token(str(number), "answer"))
            (one,) = await anext(batches)
            assert (one.id, one.event) == ((1, number + 2), token)


async def test_a_log_can_be_resumed_after_every_single_event(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        for index, each in enumerate(script.records[:-1], 1):
            assert_same(await followed(log, script.job, each.id), script.records[index:])


async def test_a_running_log_can_be_resumed_after_every_single_event(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    expected = [Recorded(Cursor(1, 1), FIRST)]
    readers = []
    for number in range(20):
        readers.append(await log.follow(job.id, after=expected[-1].id))
        expected.append(Recorded(Cursor(1, number + 2), Token(str(number), "answer")))
        notifier.publish(expected[-1].event)
    await notifier.end(DONE)
    expected.append(Recorded(Cursor(1, 22), DONE))
    for index, reader in enumerate(readers, 1):
        assert_same(await rest(reader), expected[index:])


async def test_the_cursor_of_the_end_is_finished(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        with pytest.raises(Finished):
            await log.follow(script.job.id, after=script.records[-1].id)


@pytest.mark.parametrize("cursor", [None, Cursor(1, 0)])
async def test_without_a_cursor_everything_is_told(store: Store, cursor: Cursor | None) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        assert_same(await followed(log, script.job, cursor), script.records)


@pytest.mark.parametrize(
    "cursor", [(1, 9), (1, 99), (2, 0), (2, 13), (2, 10**30), (3, 1), (0, 0), (0, 7), (10**30, 1)]
)
async def test_a_cursor_that_the_log_does_not_hold_gives_a_reset_and_everything(
    store: Store, cursor: tuple[int, int]
) -> None:
    script = await a_script(store.log)
    assert cursor not in [each.id for each in script.records]
    for log in (store.log, await store.fresh()):
        reset, *everything = await followed(log, script.job, Cursor(*cursor))
        assert (reset.id, reset.event) == ((1, 0), Reset("cursor_unknown"))
        assert_same(everything, script.records)


async def test_a_cursor_of_the_future_does_not_wait_for_it(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    batches = await log.follow(job.id, after=Cursor(1, 2))
    notifier.publish(Token("a", "answer"))
    await notifier.end(DONE)
    assert [each.id for each in await rest(batches)] == [(1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("every", [1, 3, 100])
async def test_what_a_waiting_reader_takes_in_line_is_neither_missed_nor_yielded(
    log: EventLogPort, every: int
) -> None:
    """It takes one of so many tokens that it is offered."""
    job = a_job()
    await log.create(job, FIRST)
    script = Script(log, job)
    await script.begin()
    got, offered, taken = list[Recorded](), list[Recorded](), list[Recorded]()

    def push(body: bytes) -> bool:
        (recorded,) = recorded_in(body)
        offered.append(recorded)
        if len(offered) % every:
            return False
        taken.append(recorded)
        got.append(recorded)
        return True

    async def read(batches: AsyncGenerator[Batch, None]) -> list[Recorded]:
        yielded = list[Recorded]()
        async with asyncio.timeout(5), aclosing(batches):
            async for batch in batches:
                assert recorded_in(batch.body) == list(batch.events)
                yielded += batch.events
                got.extend(batch.events)
        return yielded

    async def said(*events: Event) -> None:
        """And seen by the reader, which waits again."""
        await script.publish(*events)
        while got[-1:] != script.records[-1:]:  # noqa: ASYNC110 - `got` knows of no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    reading = asyncio.create_task(read(await encoded(log, job, push)))
    await said(StageStarted("answer", 10))
    tokens = [Token(f"{number}", "answer") for number in range(10)]
    for token in tokens:
        await said(token)
    await script.publish(Token("a", "answer"), Token("b", "answer"), DONE)
    yielded = await reading
    assert_same(got, script.records)
    assert [each.event for each in offered] == tokens
    assert taken == offered[every - 1 :: every]
    assert sorted(taken + yielded) == got


async def test_a_reader_that_has_left_takes_nothing_more(log: EventLogPort) -> None:
    """Its response may be over, and its connection at another one."""
    job, notifier = await begun(log)
    offered = list[bytes]()

    def push(body: bytes) -> bool:
        offered.append(body)
        return True

    batches = await encoded(log, job, push)
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.02)
    notifier.publish(Token("a", "answer"))
    while not offered:  # noqa: ASYNC110 - `offered` knows of no event
        await asyncio.sleep(0.001)
    waiting.cancel()
    for text in "bc":  # at once, and when it has gone
        notifier.publish(Token(text, "answer"))
        await log.read(job.id)
        await asyncio.sleep(0.02)
    assert len(offered) == 1


async def test_a_log_that_says_nothing_more_keeps_no_reader_that_has_left(
    log: EventLogPort,
) -> None:
    class Connection:
        def push(self, _: bytes) -> bool:
            return True

    job, _ = await begun(log)
    connection = Connection()
    kept = weakref.ref(connection)
    batches = await encoded(log, job, connection.push)
    del connection
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting
    await batches.aclose()
    del batches
    gc.collect()
    assert kept() is None


async def test_the_first_attempt_goes_on_behind_the_first_event(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    log = await store.fresh()  # the process that took the job never ran it
    notifier = await log.begin(job.id)
    assert notifier.attempt == 1
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


async def test_an_attempt_that_wrote_nothing_is_counted(store: Store) -> None:
    job, _ = await begun(store.log)
    log = await store.fresh()
    notifier = await log.begin(job.id)
    assert notifier.attempt == 2
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (2, 1)]


async def test_an_earlier_attempt_is_fenced_off(log: EventLogPort) -> None:
    job, earlier = await begun(log)
    earlier.publish(Token("a", "answer"))
    later = await log.begin(job.id)
    for event in (Token("b", "answer"), DONE):
        with pytest.raises(Superseded):
            await publish(earlier, event)
    await later.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2), (2, 1)]


async def test_nothing_comes_behind_the_end(store: Store) -> None:
    job, notifier = await begun(store.log)
    await notifier.end(DONE)
    with pytest.raises(Superseded):
        notifier.publish(Token("a", "answer"))
    for log in (store.log, await store.fresh()):
        with pytest.raises(Finished):
            await log.begin(job.id)
        assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


async def test_an_attempt_after_another_count_than_was_expected_is_not_begun(store: Store) -> None:
    """Who was to begin the first slept until another one had."""
    job = a_job()
    await store.log.create(job, FIRST)
    assert await store.log.attempts(job.id) == 0
    notifier = await store.log.begin(job.id, after=0)
    with pytest.raises(Superseded):
        await store.log.begin(job.id, after=0)
    assert await store.log.attempts(job.id) == 1
    await notifier.end(DONE)
    with pytest.raises(Finished):
        await store.log.begin(job.id, after=1)
    assert await (await store.fresh()).attempts(job.id) == 1


async def test_of_many_who_begin_after_the_same_count_one_does(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    beginnings = [store.log.begin(job.id, after=0) for _ in range(5)]
    results = await asyncio.gather(*beginnings, return_exceptions=True)
    assert [type(result) for result in results].count(Superseded) == 4
    assert await (await store.fresh()).attempts(job.id) == 1


async def test_of_many_ends_at_once_one_is_told(store: Store) -> None:
    job, notifier = await begun(store.log)
    ends = [notifier.end(DONE)] + [notifier.end(Cancelled("user")) for _ in range(5)]
    results = await asyncio.gather(*ends, store.log.begin(job.id), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] + [Superseded] * 5 + [Finished]
    for log in (store.log, await store.fresh()):
        assert [each.event for each in await followed(log, job)] == [FIRST, DONE]


async def test_an_end_that_nobody_waits_for_any_more_is_told(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    reader = asyncio.create_task(followed(log, job))
    publishing = asyncio.ensure_future(notifier.end(DONE))
    await asyncio.sleep(0)
    publishing.cancel()
    assert (await reader)[-1].event == DONE


async def test_readers_early_late_and_resuming_get_the_same(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    readers = [asyncio.create_task(followed(log, job)) for _ in range(5)]
    for number in range(50):
        notifier.publish(Token(str(number), "answer"))
        await asyncio.sleep(0)
    late = asyncio.create_task(followed(log, job))
    resumed = asyncio.create_task(followed(log, job, Cursor(1, 30)))
    await notifier.end(DONE)
    whole = (await log.read(job.id)).events
    for reader in (*readers, late):
        assert_same(await reader, whole)
    assert_same(await resumed, whole[30:])


async def test_a_reader_that_stalls_or_leaves_holds_nobody_up(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    stalled, leaving = await log.follow(job.id, after=None), await log.follow(job.id, after=None)
    await anext(stalled)
    await anext(leaving)
    waiting = asyncio.ensure_future(anext(leaving))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    other = asyncio.create_task(followed(log, job))
    async with asyncio.timeout(5):
        for number in range(1000):
            notifier.publish(Token(str(number), "answer"))
        await notifier.end(DONE)
    await leaving.aclose()
    whole = (await log.read(job.id)).events
    assert_same(await other, whole)
    assert_same(await rest(stalled), whole[1:])


async def test_a_batch_is_one_event_or_64_kibibytes(store: Store) -> None:
    job, notifier = await begun(store.log)
    for size in (1, 100, 16_000, 21_000, 64, 16_384, 16_384, 9_999) * 3:
        notifier.publish(Token("무" * size, "answer"))
    await notifier.end(DONE)
    for log in (store.log, await store.fresh()):
        batches = await log.follow(job.id, after=None)
        async with aclosing(batches):
            async for batch in batches:
                assert (
                    len(batch) == 1 or sum(size_of(each.event) for each in batch) <= MAX_TOKEN_BYTES
                )


async def test_unfinished_jobs_are_listed_oldest_first(store: Store) -> None:
    jobs = [a_job(chat_id) for chat_id in "abaca"]
    for job in jobs:
        await store.log.create(job, FIRST)
    await (await store.log.begin(jobs[2].id)).end(DONE)
    (await store.log.begin(jobs[3].id)).publish(Token("a", "answer"))
    for log in (store.log, await store.fresh()):
        assert await log.unfinished() == [jobs[0], jobs[1], jobs[3], jobs[4]]
        assert await log.unfinished("a") == [jobs[0], jobs[4]]
        assert await log.unfinished("nowhere") == []


async def test_a_deleted_chats_jobs_were_never_there(store: Store) -> None:
    log = store.log
    running, over, other = a_job(), a_job(), a_job("other")
    for job in (running, over, other):
        await log.create(job, FIRST)
    await (await log.begin(over.id)).end(DONE)
    notifier = await log.begin(running.id)
    notifier.publish(Token("a", "answer"))
    reader = await log.follow(running.id, after=None)
    await log.delete("chat")
    with pytest.raises(Superseded):
        await notifier.end(DONE)
    with pytest.raises(NotFound):
        await rest(reader)
    for each in (log, await store.fresh()):
        assert await each.unfinished() == [other]
        for job in (running, over):
            with pytest.raises(NotFound):
                await each.follow(job.id, after=None)


async def test_deleting_while_the_end_is_written_leaves_no_log(store: Store) -> None:
    job, notifier = await begun(store.log)
    publishing = asyncio.create_task(notifier.end(DONE))
    await asyncio.sleep(0)
    await store.log.delete("chat")
    await asyncio.gather(publishing, return_exceptions=True)
    for log in (store.log, await store.fresh()):
        with pytest.raises(NotFound):
            await log.read(job.id)


async def test_deleting_while_a_job_is_created_leaves_it_whole_or_absent(store: Store) -> None:
    job = a_job()
    creating = asyncio.create_task(store.log.create(job, FIRST))
    await asyncio.sleep(0)
    await store.log.delete("chat")
    await creating
    there = [each.id for each in await store.log.unfinished()]
    for log in (store.log, await store.fresh()):
        try:
            assert there == [(await log.job(job.id)).id]
        except NotFound:
            assert there == []


async def test_hanging_up_ends_every_reader_now_and_later(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    unread, _ = await begun(log)
    early = await log.follow(job.id, after=None)
    waiting = asyncio.create_task(followed(log, job))
    await asyncio.sleep(0)
    log.hang_up()
    notifier.publish(Token("a", "answer"))
    for reading in (rest(early), waiting, followed(log, job), followed(log, unread)):
        with pytest.raises(Unavailable, match=r"^the service is shutting down$"):
            await reading
    late, _ = await begun(log)
    with pytest.raises(Unavailable):
        await log.follow(late.id, after=None)
    await notifier.end(DONE)
    assert (await log.read(job.id)).events[-1].event == DONE


async def test_a_log_is_forgotten_after_its_retention_but_never_before_its_end(
    kind: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        log = (await store_of(kind, tmp_path, stack, 0)).log
        job, notifier = await begun(log)
        notifier.publish(Token("a", "answer"))
        assert (await log.read(job.id)).events[-1].event == Token("a", "answer")
        await notifier.end(DONE)
        for _ in range(3):
            await asyncio.sleep(0)
        for call in of(log):
            with pytest.raises(NotFound):
                await call(job.id)


PIECES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
TOKENS = st.builds(Token, PIECES, st.sampled_from(["answer", "outer/inner"]))
STEPS = st.lists(
    st.one_of(
        st.lists(TOKENS, min_size=1, max_size=4),
        st.just("begin"),
        st.just("stage"),
        st.tuples(st.just("follow"), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(0, 30)),
        st.just("yield"),
    ),
    max_size=25,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_interleaving_gives_every_reader_a_gapless_suffix(
    store: Store, steps: list[object]
) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    script = Script(store.log, job)
    await script.begin()
    readers: list[tuple[int, AsyncGenerator[Sequence[Recorded], None], list[Recorded]]] = []
    for step in steps:
        match step:
            case list(tokens):
                await script.publish(*tokens)
            case "begin":
                await script.begin()
                await script.publish(Reset("new_attempt"))
            case "stage":
                await script.publish(StageStarted("answer", 10))
            case ("follow", int(number)):
                after = number % (len(script.records) + 1)
                cursor = script.records[after - 1].id if after else None
                readers.append((after, await store.log.follow(job.id, after=cursor), []))
            case ("read", int(number)) if readers:
                after, batches, got = readers[number % len(readers)]
                if after + len(got) < len(script.records):
                    got += await anext(batches)
            case _:
                await asyncio.sleep(0)
    await script.publish(DONE)
    for after, batches, got in readers:
        assert_same(got + await rest(batches), script.records[after:])
    fresh = await store.fresh()
    for after in range(len(script.records)):
        cursor = script.records[after - 1].id if after else None
        assert_same(await followed(fresh, job, cursor), script.records[after:])
    assert [each.id for each in script.records if isinstance(each.event, TERMINAL)] == [
        script.records[-1].id
    ]


@pytest.mark.parametrize("joins", [True, False])
async def test_an_encoders_readers_early_late_resumed_and_elsewhere_get_the_same(
    store: Store, joins: bool
) -> None:
    """A store may have joined what one encoder wants token by token."""
    job = a_job()
    await store.log.create(job, FIRST)
    encoder = ToyEncoder(job.id, joins)
    follow = store.log.follow_encoded
    early = [
        asyncio.create_task(bodies(await follow(job.id, after=None, encoder=encoder)))
        for _ in range(3)
    ]
    script = Script(store.log, job)
    await script.begin()
    for number in range(20):
        await script.publish(Token(f"{number} 무", "answer"))
        await asyncio.sleep(0)
    await script.begin()
    await script.publish(Reset("new_attempt"))
    await script.publish(*[Token(text, "answer") for text in "abc"], DONE)
    expected, state, before = list[bytes](), encoder.initial, Cursor(1, 0)
    for recorded in script.records:
        state, new = encoder.encode(state, before, recorded)
        expected += new
        before = recorded.id
    assert all([said_by(await each) == said_by(b"".join(expected)) for each in early])
    for log in (store.log, await store.fresh()):
        if joins:
            whole = await bodies(await log.follow_encoded(job.id, after=None, encoder=encoder))
            assert said_by(whole) == said_by(b"".join(expected))
            continue
        for index in range(len(expected)):
            after, skip = position(expected[index - 1]) if index else (Cursor(1, 0), 0)
            rest = await log.follow_encoded(job.id, after=after, encoder=encoder, skip=skip)
            assert await bodies(rest) == b"".join(expected[index:])


async def bodies(batches: AsyncGenerator[Batch, None]) -> bytes:
    async with asyncio.timeout(5), aclosing(batches):
        return b"".join([batch.body async for batch in batches])


def said_by(body: bytes) -> list[object]:
    """The toy's lines, with what was said between two others as one text."""
    lines: list[object] = []
    for frame in body.decode().split("\n\n")[:-1]:
        line = json.loads(frame.split("data: ")[1])
        if "say" in line and lines and isinstance(lines[-1], tuple):
            lines[-1] = (lines[-1][0] + line["say"], line["said"])
        else:
            lines.append((line["say"], line["said"]) if "say" in line else line)
    return lines


def position(frame: bytes) -> tuple[Cursor, int]:
    """Where a reader goes on that has this frame of the toy."""
    event, _, skip = frame.decode().split("\n")[0].removeprefix("id: ").partition(".")
    attempt, seq = map(int, event.split("-"))
    return Cursor(attempt, seq), int(skip or 0)


async def test_a_fault_in_a_readers_encoder_ends_its_reading_and_nobody_elses(
    log: EventLogPort,
) -> None:
    class Faulty(ToyEncoder):
        def encode(self, *_: object) -> Any:
            raise ValueError("a fault")

    job, notifier = await begun(log)
    batches = await log.follow_encoded(
        job.id, after=Cursor(1, 1), encoder=Faulty(job.id), push=lambda _: True
    )
    reading = asyncio.create_task(bodies(batches))
    other = asyncio.create_task(followed(log, job))
    await asyncio.sleep(0.02)
    notifier.publish(Token("a", "answer"))
    await notifier.end(DONE)
    with pytest.raises(ValueError, match="a fault"):
        await reading
    assert [each.event for each in await other] == [FIRST, Token("a", "answer"), DONE]
