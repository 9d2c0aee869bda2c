"""What only the SQLite log has to show: commits, outages, damage, retention."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from sluice.application.coalescing import MAX_TOKEN_BYTES
from sluice.domain.chat import Job, new_id, now
from sluice.domain.errors import NotFound, StreamLost, Unavailable
from sluice.domain.events import (
    QUEUED,
    Cursor,
    Done,
    Event,
    Failed,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase

DONE = Done("A2", "answer")


@pytest.fixture
async def log(database: SqliteDatabase) -> AsyncIterator[SqliteEventLog]:
    log = SqliteEventLog(database)
    await log.open()
    yield log
    await log.aclose()


def a_job(chat_id: str = "chat") -> Job:
    return Job(new_id(), chat_id, "ann", "A2", "why?", "request")


async def followed(log: SqliteEventLog, job: Job, after: Cursor | None = None) -> list[Recorded]:
    async with asyncio.timeout(5):
        batches = await log.follow(job.id, after=after)
        return [recorded async for batch in batches for recorded in batch]


async def an_ended_job(log: SqliteEventLog, *said: Event) -> Job:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    for event in said:
        notifier.publish(event)
    await notifier.end(DONE)
    return job


async def fill(database: SqliteDatabase) -> None:
    """Makes the disk full, as far as SQLite can tell."""
    (pages,) = await database.read(lambda db: db.execute("PRAGMA page_count").fetchone())
    await database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))


async def empty(database: SqliteDatabase) -> None:
    await database.write(lambda db: db.execute("PRAGMA max_page_count = 1000000"))


async def stored(database: SqliteDatabase) -> int:
    (rows,) = await database.read(lambda db: db.execute("SELECT count(*) FROM batches").fetchone())
    return int(rows)


async def until_stored(database: SqliteDatabase, rows: int) -> None:
    async with asyncio.timeout(5):
        while await stored(database) < rows:  # noqa: ASYNC110 - only the file can tell
            await asyncio.sleep(0.01)


async def test_tokens_are_seen_before_they_are_durable_the_end_only_afterwards(
    database: SqliteDatabase, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    gate = asyncio.Event()
    write = database.write

    async def held(*args: object, **options: bool) -> object:
        await gate.wait()
        return await write(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "write", held)
    notifier.publish(Token("a", "answer"))
    end = asyncio.create_task(notifier.end(DONE))
    await asyncio.sleep(0)
    seen = [each.event for each in (await log.read(job.id)).events]
    gate.set()
    await end
    assert seen == [QUEUED, Token("a", "answer")]
    assert (await log.read(job.id)).events[-1].event == DONE


async def test_tokens_reach_the_file_without_an_end(
    database: SqliteDatabase, log: SqliteEventLog
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    for number in range(100):
        notifier.publish(Token(str(number), "answer"))
    await until_stored(database, 2)
    assert await stored(database) == 2
    other = SqliteEventLog(database)
    assert [each.id for each in (await other.read(job.id)).events] == [(1, 1), (1, 101)]


async def test_tokens_wait_for_their_time_also_where_another_job_ends(
    database: SqliteDatabase, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.infrastructure.event_log.sqlite.writer._COMMIT_INTERVAL_S", 60)
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    notifier.publish(Token("a", "answer"))
    await an_ended_job(log, Token("b", "answer"))
    assert await stored(database) == 3
    await log.aclose()
    assert await stored(database) == 4


async def test_first_events_attempts_and_ends_reach_the_disk_tokens_the_system(
    database: SqliteDatabase, log: SqliteEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def synced(_: int) -> None:
        happened.append("SYNC")

    def traced(statement: str) -> None:
        if statement == "COMMIT":
            happened.append(statement)

    def since() -> list[str]:
        told = happened.copy()
        happened.clear()
        return told

    await database.write(lambda db: db.set_trace_callback(traced))
    monkeypatch.setattr("sluice.infrastructure.sqlite.group_commit.sync", synced)
    since()
    job = a_job()
    await log.create(job, QUEUED)
    assert since() == ["COMMIT", "SYNC"]
    notifier = await log.begin(job.id)
    assert since() == ["COMMIT", "SYNC"]
    notifier.publish(Token("a", "answer"))
    await until_stored(database, 2)
    assert since() == ["COMMIT"]
    await notifier.end(DONE)
    assert since() == ["COMMIT", "SYNC"]


async def test_closing_writes_what_was_said(database: SqliteDatabase) -> None:
    log = SqliteEventLog(database)
    await log.open()
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    notifier.publish(Token("a", "answer"))
    await log.aclose()
    assert await stored(database) == 2
    with pytest.raises(Unavailable):
        notifier.publish(Token("b", "answer"))
    assert len((await log.read(job.id)).events) == 2  # nobody saw what would not be kept
    with pytest.raises(Unavailable):
        await notifier.end(DONE)


async def test_what_many_jobs_say_at_once_is_each_ones_own(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.infrastructure.event_log.sqlite.writer._COMMIT_INTERVAL_S", 60)
    log = SqliteEventLog(database)
    await log.open()
    jobs = [a_job() for _ in range(71)]
    for job in jobs:
        await log.create(job, QUEUED)
        notifier = await log.begin(job.id)
        notifier.publish(Token(job.id, "answer"), Token("!", "other"))
    await log.aclose()
    fresh = SqliteEventLog(database)
    for job in jobs:
        said = [each.event for each in (await fresh.read(job.id)).events]
        assert said == [QUEUED, Token(job.id, "answer"), Token("!", "other")]


async def test_an_old_log_is_told_in_few_events_whatever_it_was_said_in(
    log: SqliteEventLog, database: SqliteDatabase
) -> None:
    pieces = [f"{number} 무" for number in range(20_000)]
    job = await an_ended_job(log, *(Token(piece, "answer") for piece in pieces))
    fresh = SqliteEventLog(database)
    first, *tokens, last = await followed(fresh, job)
    assert (first.event, last.event) == (QUEUED, DONE)
    contents = [each.event.content for each in tokens if isinstance(each.event, Token)]
    assert "".join(contents) == "".join(pieces)
    assert (
        len(contents) == len(tokens) == 1 + sum(len(p.encode()) for p in pieces) // MAX_TOKEN_BYTES
    )
    (rest, end) = await followed(fresh, job, Cursor(1, 19_999))
    assert rest.event == Token(pieces[-2] + pieces[-1], "answer")
    assert end == last


async def test_readers_of_an_old_log_share_one_load(
    log: SqliteEventLog, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await an_ended_job(log, Token("a", "answer"))
    fresh, reads = SqliteEventLog(database), list[object]()
    read = database.read

    async def counted(work: object) -> object:
        reads.append(work)
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "read", counted)
    got = await asyncio.gather(*(followed(fresh, job) for _ in range(10)))
    assert all(each == got[0] for each in got)
    assert len(reads) == 1
    assert await followed(fresh, job) == got[0]
    assert len(reads) == 1


async def test_what_is_deleted_while_it_is_loaded_is_not_found(
    log: SqliteEventLog, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await an_ended_job(log, Token("a", "answer"))
    fresh = SqliteEventLog(database)
    was_read, go_on = asyncio.Event(), asyncio.Event()
    read = database.read

    async def slow(work: object) -> object:
        found: object = await read(work)  # type: ignore[arg-type]
        was_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(database, "read", slow)
    reading = asyncio.create_task(fresh.read(job.id))
    async with asyncio.timeout(5):
        await was_read.wait()
        await fresh.delete("chat")
    go_on.set()
    with pytest.raises(NotFound):
        await reading


async def test_what_is_over_does_not_stay_in_memory(log: SqliteEventLog) -> None:
    jobs = [await an_ended_job(log, Token("a", "answer")) for _ in range(40)]
    assert len(log._logs) <= 17
    reader = await log.follow(jobs[0].id, after=None)
    await anext(reader)
    for job in jobs[1:]:
        await log.read(job.id)
    assert jobs[0].id in log._logs
    await reader.aclose()
    del reader
    assert jobs[0].id not in log._logs


async def test_while_the_disk_is_full_readers_are_sent_away_and_nothing_is_lost(
    log: SqliteEventLog, database: SqliteDatabase
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    reader = asyncio.create_task(followed(log, job))
    await fill(database)
    texts = ["a" * 50_000, "b" * 50_000]
    notifier.publish(Token(texts[0], "answer"))
    with pytest.raises(Unavailable):
        await reader
    with pytest.raises(Unavailable):
        await followed(log, job)
    with pytest.raises(Unavailable):
        await log.create(replace(a_job(), message="c" * 50_000), QUEUED)
    notifier.publish(Token(texts[1], "answer"))
    end = asyncio.create_task(notifier.end(DONE))
    with pytest.raises(Unavailable):
        await followed(log, job)
    assert not end.done()
    await empty(database)
    async with asyncio.timeout(5):
        await end
    for each in (log, SqliteEventLog(database)):
        events = await followed(each, job)
        assert events[0].event == QUEUED
        said = [recorded.event.content for recorded in events[1:-1]]  # type: ignore[union-attr]
        assert "".join(said) == "".join(texts)
        assert (events[-1].id, events[-1].event) == ((1, 4), DONE)
    assert await log.unfinished() == []


async def test_a_full_disk_shows_in_the_check_until_there_is_room(
    log: SqliteEventLog, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.check()

    def full(db: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("sluice.infrastructure.sqlite.database.touch", full)
        with pytest.raises(Unavailable):
            await log.check()
    await log.check()


async def test_closing_on_a_full_disk_hands_the_job_back(
    log: SqliteEventLog, database: SqliteDatabase
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    await fill(database)
    end = asyncio.create_task(notifier.end(Token("a" * 50_000, "answer"), DONE))
    await asyncio.sleep(0)
    await log.aclose()
    with pytest.raises(Unavailable):
        await end
    await empty(database)
    assert await log.unfinished() == [job]


async def test_a_chat_deleted_on_a_full_disk_leaves_no_rows(
    log: SqliteEventLog, database: SqliteDatabase
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    await fill(database)
    notifier.publish(Token("a" * 50_000, "answer"))
    with pytest.raises(Unavailable):
        await followed(log, job)
    await log.delete("chat")
    await empty(database)
    other = await an_ended_job(log, Token("b", "answer"))
    assert await stored(database) == 2
    assert (await followed(log, other))[-1].event == DONE


async def damaged(database: SqliteDatabase, sql: str) -> SqliteEventLog:
    await database.write(lambda db: db.execute(sql))
    return SqliteEventLog(database)


MIDDLE = "(SELECT key FROM batches ORDER BY key LIMIT 1 OFFSET 1)"


@pytest.mark.parametrize(
    "damage",
    [
        f"DELETE FROM batches WHERE key = {MIDDLE}",
        f"UPDATE batches SET body = x'00ff' WHERE key = {MIDDLE}",
        f"""UPDATE batches SET body = '[["nothing","{{}}"]]' WHERE key = {MIDDLE}""",
        f"""UPDATE batches SET body = '[["token",7]]' WHERE key = {MIDDLE}""",
        "DELETE FROM batches WHERE key = (SELECT max(key) FROM batches)",
    ],
)
async def test_a_log_with_a_gap_says_so_instead_of_its_end(
    log: SqliteEventLog, database: SqliteDatabase, damage: str
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    notifier.publish(Token("a", "answer"))
    await until_stored(database, 2)
    await notifier.end(DONE)
    fresh = await damaged(database, damage)
    *said, end = await followed(fresh, job)
    assert said[0].event == QUEUED
    assert DONE not in [each.event for each in said]
    assert (end.id, end.event) == ((2, 1), Failed.of(StreamLost(), "request"))
    again = SqliteEventLog(database)
    assert await followed(again, job) == [*said, end]
    (reset, *_) = await followed(again, job, Cursor(1, 3))
    assert reset.event == Reset("cursor_unknown")


async def test_a_gap_in_an_attempt_that_was_repeated_is_made_good_by_its_reset(
    log: SqliteEventLog, database: SqliteDatabase
) -> None:
    job = a_job()
    await log.create(job, QUEUED)
    (await log.begin(job.id)).publish(Token("a", "answer"))
    notifier = await log.begin(job.id)
    notifier.publish(Reset("new_attempt"))
    await notifier.end(StageStarted("answer", 1), DONE)
    fresh = await damaged(database, f"UPDATE batches SET first = 9 WHERE key = {MIDDLE}")
    assert [each.id for each in await followed(fresh, job)] == [(1, 1), (2, 1), (2, 2), (2, 3)]


async def test_expired_logs_leave_the_file_but_unfinished_ones_stay_whatever_the_clock_says(
    log: SqliteEventLog, database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = [await an_ended_job(log, Token("a", "answer")) for _ in range(3)]
    running = a_job()
    await log.create(running, QUEUED)
    await log.sweep()
    assert (await log.read(over[0].id)).events[-1].event == DONE
    later = now() + timedelta(days=365)
    monkeypatch.setattr("sluice.infrastructure.event_log.sqlite.log.now", lambda: later)
    await log.sweep()
    for job in over:
        with pytest.raises(NotFound):
            await log.job(job.id)
    assert await log.unfinished() == [running]
    assert await stored(database) == 1
    earlier = now() - timedelta(days=365)
    monkeypatch.setattr("sluice.infrastructure.event_log.sqlite.log.now", lambda: earlier)
    await log.sweep()
    assert await log.job(running.id) == running
