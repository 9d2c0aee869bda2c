"""What a process repeats goes on after an error that nobody foresaw, and says so."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, NoReturn

import pytest

from sluice.application import deliveries as delivering
from sluice.application import guard as guarding
from sluice.application.deliveries import Deliveries
from sluice.application.guard import Guard, SoleDecider
from sluice.application.metrics import JobMetrics
from sluice.application.rollout import ControlShare
from sluice.domain.errors import Unavailable
from sluice.infrastructure.flags import redis_news as news
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.jobs.redis import readers as reading
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.waiting import until


@pytest.fixture
async def database() -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.aclose()


class Failing:
    """Raises each error once, and counts how often it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = list(errors), 0

    async def __call__(self, *_: object) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


async def repeated(keep: Coroutine[Any, Any, NoReturn], failing: Failing, times: int) -> None:
    """`keep` has been through it so often, and is cancelled."""
    task = asyncio.create_task(keep)
    await until(lambda: failing.asked >= times or task.done())
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_the_guard_goes_on_and_does_not_claim_to_decide_by_what_failed(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guarding, "_INTERVAL_SECONDS", 0)
    changes = SqliteShareChanges(database)
    guard = Guard(ControlShare(changes), changes, SqliteOutcomes(database), SoleDecider())
    failing = Failing(Unavailable("away"), ValueError("secret"))
    guard.decides = True
    monkeypatch.setattr(guard, "look", failing)
    await repeated(guard.keep(), failing, 3)
    assert not guard.decides
    assert "the guard failed: ValueError" in caplog.text
    assert "secret" not in caplog.text
    assert "away" not in caplog.text


async def test_the_share_is_read_on_and_is_stale_meanwhile(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes = SqliteShareChanges(database)
    control = ControlShare(changes, poll=0)
    failing = Failing(ValueError("secret"))
    monkeypatch.setattr(changes, "newest", failing)
    await repeated(control.keep(), failing, 2)
    assert "reading the share failed: ValueError" in caplog.text
    assert "the last one known stays" in caplog.text


async def test_what_readers_were_handed_is_written_on(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(delivering, "_INTERVAL_SECONDS", 0)
    deliveries = Deliveries(SqliteOutcomes(database), JobMetrics(), retention=60)
    failing = Failing(ValueError("secret"))
    monkeypatch.setattr(deliveries, "flush", failing)
    await repeated(deliveries.keep(), failing, 2)
    assert "writing what readers were handed failed: ValueError" in caplog.text


async def test_changes_of_the_share_are_heard_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(news, "_RETRY_SECONDS", 0)
    redis = RedisClient.at("redis://127.0.0.1:1/0")
    failing = Failing(ValueError("secret"))

    async def listen(_: str) -> AsyncGenerator[bytes, None]:
        await failing()
        yield b""

    monkeypatch.setattr(redis, "listen", listen)
    await repeated(news.RedisShareNews(redis).hear(lambda: None), failing, 2)
    await redis.aclose()
    assert "hearing of changes of the share failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


async def test_who_is_read_is_told_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reading, "_INTERVAL_S", 0)
    redis = RedisClient.at("redis://127.0.0.1:1/0")
    scheduler = RedisScheduler(redis)
    failing = Failing(ValueError("secret"))
    monkeypatch.setattr(scheduler, "are_read", failing)
    readers = reading.RedisReaders(scheduler)
    readers.joined("job")
    await repeated(readers.report(), failing, 2)
    await redis.aclose()
    assert "telling who is read failed: ValueError" in caplog.text
