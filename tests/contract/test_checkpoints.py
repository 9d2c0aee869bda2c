"""What every store of checkpoints promises, whatever graph has left them."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from sluice.application.ports import CheckpointPort
from sluice.domain.graph_state import ROOT
from sluice.infrastructure.pipeline.savers.postgres import PostgresSaver
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.postgres.checkpoints import PostgresCheckpoints
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.contract.postgres import drop

SQLITE = ("checkpoints", "writes")
POSTGRES = ("checkpoints", "checkpoint_writes", "checkpoint_blobs")


@dataclass
class Stores:
    checkpoints: CheckpointPort
    saver: Saver
    rows: Callable[[], Awaitable[list[int]]]
    """Of each table, of all threads."""

    async def leave(self, thread: str, *, at: str = "") -> str:
        """A checkpoint with a value and a task's write; its id."""
        made: Any = {**empty_checkpoint(), "channel_values": {"said": [thread]}}
        made["channel_versions"] = version = {"said": made["id"]}
        place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": at}}
        stored = await self.saver.aput(place, made, {"step": 1}, version)
        await self.saver.aput_writes(stored, [("said", "more")], "task")
        return str(made["id"])

    async def kept(self, thread: str, *, at: str = "") -> list[str]:
        """The ids, oldest first. Each has all that belongs to it."""
        place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": at}}
        found = [each async for each in self.saver.alist(place)]
        for each in found:
            assert each.checkpoint["channel_values"] == {"said": [thread]}
            assert each.pending_writes == [("task", "said", "more")]
        return [each.checkpoint["id"] for each in reversed(found)]

    async def nothing_but(self, count: int) -> bool:
        """Not a row that belongs to what is gone."""
        return set(await self.rows()) == {count}


@asynccontextmanager
async def in_sqlite(folder: Path) -> AsyncIterator[Stores]:
    file = SqliteCheckpoints(folder / "a.db")
    await file.open()

    async def rows() -> list[int]:
        counts = []
        for table in SQLITE:
            async with file.connection.execute(f"SELECT count(*) FROM {table}") as found:
                counts += [row[0] async for row in found]
        return counts

    yield Stores(file, SqliteSaver(file), rows)
    await file.aclose()


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[Stores]:
    database = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
    await database.open()

    async def count(db: Connection) -> list[int]:
        counts = []
        for table in POSTGRES:
            found = await db.execute(f"SELECT count(*) FROM {table}".encode())
            counts += [row[0] for row in await found.fetchall()]
        return counts

    yield Stores(
        PostgresCheckpoints(database), PostgresSaver(database), partial(database.run, count)
    )
    await database.run(drop)
    await database.aclose()


@pytest.fixture(params=["sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        opened = in_postgres(request.getfixturevalue("postgres_url"))
    else:
        opened = in_sqlite(tmp_path)
    async with opened as stores:
        yield stores


async def test_before_any_graph_has_left_one_there_is_nothing_to_be_rid_of(stores: Stores) -> None:
    await stores.checkpoints.forget("thread")
    await stores.checkpoints.prune("thread", [ROOT], "job")
    left = await stores.leave("thread")
    assert await stores.kept("thread") == [left]


async def test_a_thread_that_is_forgotten_leaves_nothing_and_takes_no_other_along(
    stores: Stores,
) -> None:
    for at in ("", "child", "child:1"):
        await stores.leave("thread", at=at)
    other = await stores.leave("other")
    await stores.checkpoints.forget("thread")
    assert await stores.kept("other") == [other]
    assert await stores.nothing_but(1)


async def test_of_a_graphs_checkpoints_those_stay_that_are_named(stores: Stores) -> None:
    made = [await stores.leave("thread") for _ in range(4)]
    other = await stores.leave("other")
    await stores.checkpoints.prune("thread", {made[0], made[2]}, "job")
    assert await stores.kept("thread") == [made[0], made[2]]
    assert await stores.kept("other") == [other]
    assert await stores.nothing_but(3)


async def test_of_a_child_with_a_memory_of_its_own_the_newest_stays_and_of_others_none(
    stores: Stores,
) -> None:
    newest = {}
    for child in ("one", "two"):
        for _ in range(2):
            await stores.leave("thread", at=f"{child}:1")
            newest[child] = await stores.leave("thread", at=child)
    root = await stores.leave("thread")
    await stores.checkpoints.prune("thread", [root], "job")
    for child, kept in newest.items():
        assert await stores.kept("thread", at=child) == [kept]
    assert await stores.nothing_but(3)
