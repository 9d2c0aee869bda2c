"""The same in PostgreSQL: of what differs from SQLite there is the saver, and what forgets."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from copy import copy
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from pytest_mock import MockerFixture

from sluice.domain.errors import StateLost, Unavailable
from sluice.domain.graph_state import Head
from sluice.infrastructure.pipeline.savers.postgres import PostgresSaver
from sluice.infrastructure.postgres.checkpoints import PostgresCheckpoints
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase
from tests.contract.postgres import drop
from tests.paths.conftest import Path
from tests.paths.test_state import THREAD, Chat, echo


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_url, schema=f"test_{secrets.token_hex(8)}")
    await database.open()
    yield database
    await database.run(drop)
    await database.aclose()


only_a2 = pytest.mark.parametrize("path", ["A2"], indirect=True)


async def rows(database: PostgresDatabase) -> dict[str, int]:
    async def work(db: Connection) -> dict[str, int]:
        counts = {}
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            found = await db.execute(f"SELECT count(*) FROM {table}".encode())
            counts[table] = (await found.fetchone() or (0,))[0]
        return counts

    return await database.run(work)


async def test_turns_build_on_each_other_and_begin_where_they_are_told(
    path: Path, database: PostgresDatabase
) -> None:
    chat = Chat(path, echo, PostgresSaver(database))
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    again = await chat.turn("b", one.head)
    assert [each.done.answer for each in (one, two, again)] == ["a", "a+b", "a+b"]
    with pytest.raises(StateLost):
        await chat.turn("c", Head("thread", "1f1ec1c2-a455-6049-8000-000000000000"))


@only_a2
@pytest.mark.parametrize("value", ["of a\0 file", float("nan"), float("-inf")], ids=repr)
async def test_a_value_that_postgresqls_json_has_no_form_of_is_kept_as_it_is(
    path: Path, database: PostgresDatabase, value: object
) -> None:
    class Noting(TypedDict, total=False):
        message: str
        note: object
        answer: str

    async def answer(state: Noting) -> Noting:
        return {"note": state.get("note", value), "answer": f"{state.get('note')!r}"}

    def build(llm: object) -> Any:
        return StateGraph(Noting).add_node(answer).add_edge(START, "answer")

    chat, checkpoints = Chat(path, build, PostgresSaver(database)), PostgresCheckpoints(database)
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    await checkpoints.prune("thread", {two.head.checkpoint_id}, "job")
    three = await chat.turn("c", two.head)
    told = [each.done.answer for each in (one, two, three)]
    assert told == ["None", repr(value), repr(value)]


@only_a2
async def test_pruning_leaves_what_the_kept_checkpoint_needs_and_no_more(
    path: Path, database: PostgresDatabase
) -> None:
    chat = Chat(path, echo, PostgresSaver(database))
    checkpoints = PostgresCheckpoints(database)
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    before = await rows(database)
    await checkpoints.prune("thread", {two.head.checkpoint_id}, "job")
    after = await rows(database)
    assert after["checkpoints"] == 1
    assert 0 < after["checkpoint_blobs"] < before["checkpoint_blobs"]
    assert (await chat.turn("c", two.head)).done.answer == "a+b+c"
    await checkpoints.forget("thread")
    assert set((await rows(database)).values()) == {0}


@only_a2
async def test_many_workers_make_the_tables_once(path: Path, database: PostgresDatabase) -> None:
    chats = [Chat(path, echo, PostgresSaver(database)) for _ in range(4)]
    told = await asyncio.gather(
        *(chat.turn("a", Head(f"thread {n}")) for n, chat in enumerate(chats))
    )
    assert {each.done.answer for each in told} == {"a"}


async def test_a_saver_and_its_copies_make_the_tables_once(
    database: PostgresDatabase, mocker: MockerFixture
) -> None:
    saver = PostgresSaver(database)
    made = mocker.spy(saver, "setup")
    for each in (saver, saver, copy(saver)):
        await each.ready()
    assert made.call_count == 1


async def test_nothing_is_forgotten_where_no_graph_left_anything(
    database: PostgresDatabase,
) -> None:
    await PostgresCheckpoints(database).forget("thread")
    await PostgresCheckpoints(database).prune("thread", (), "job")


@only_a2
async def test_a_store_that_is_away_is_waited_for(
    path: Path, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, outages = PostgresSaver(database), [Unavailable("away"), Unavailable("away")]
    ready = saver.ready

    async def sometimes() -> None:
        if outages:
            raise outages.pop()
        await ready()

    monkeypatch.setattr(saver, "ready", sometimes)
    assert (await Chat(path, echo, saver).turn("a", THREAD)).done.answer == "a"
