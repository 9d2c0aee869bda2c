"""What every store of the share's changes promises. A new one joins with one fixture parameter."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice.application.rollout import ShareChangesPort
from sluice.domain.share_change import ShareChange
from sluice.infrastructure.flags.postgres_changes import PostgresShareChanges
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.postgres import drop

AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
FIRST = ShareChange(1, AT, "ann", 5, 12.5, "왜\u2028\n", "rollout")


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def changes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[ShareChangesPort]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield PostgresShareChanges(shared)
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    yield SqliteShareChanges(database)
    await database.aclose()


async def test_before_the_first_there_is_none(changes: ShareChangesPort) -> None:
    assert list(await changes.newest(10)) == []


async def test_changes_come_back_exactly_newest_first(changes: ShareChangesPort) -> None:
    second = replace(FIRST, number=2, by="보브", after=None, why=None)
    assert await changes.append(FIRST)
    assert await changes.append(second)
    assert list(await changes.newest(10)) == [second, FIRST]
    assert list(await changes.newest(1)) == [second]


@pytest.mark.parametrize("number", [0, 1, 3])
async def test_only_the_change_after_the_newest_is_kept(
    changes: ShareChangesPort, number: int
) -> None:
    assert await changes.append(FIRST)
    assert not await changes.append(replace(FIRST, number=number, by="bob"))
    assert list(await changes.newest(10)) == [FIRST]


async def test_of_many_at_once_one_is_kept(changes: ShareChangesPort) -> None:
    rivals = [replace(FIRST, by=f"user {number}") for number in range(10)]
    kept = await asyncio.gather(*map(changes.append, rivals))
    assert kept.count(True) == 1
    assert list(await changes.newest(10)) == [rivals[kept.index(True)]]
