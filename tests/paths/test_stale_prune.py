"""A worker that wakes up behind a job's end, and prunes while the chat goes on elsewhere."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from operator import add
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from sluice.domain.chat import Chat as KeptChat
from sluice.domain.chat import Job, Question, new_id, now
from sluice.domain.graph_state import Advanced, Head, Pause, Resumption
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.heads import PostgresHeads
from sluice.infrastructure.pipeline.savers.postgres import PostgresSaver
from sluice.infrastructure.postgres.checkpoints import PostgresCheckpoints
from sluice.infrastructure.postgres.database import PostgresDatabase
from tests.contract.postgres import drop
from tests.paths.conftest import Path
from tests.paths.test_postgres_state import rows
from tests.paths.test_state import Chat, asked

pytestmark = pytest.mark.parametrize("path", ["A2"], indirect=True)


class Seen(TypedDict, total=False):
    message: str
    answer: str
    seen: Annotated[list[str], add]


class House:
    """A chat whose graph remembers what it was told, and asks and then waits if it is told so."""

    def __init__(self, path: Path, database: PostgresDatabase) -> None:
        self.chats, self.heads = PostgresChats(database), PostgresHeads(database)
        self.checkpoints = PostgresCheckpoints(database)
        self.half_way, self.go_on = asyncio.Event(), asyncio.Event()
        self._chat = Chat(path, self._build, PostgresSaver(database))

    def _build(self, _: object) -> object:
        async def note(state: Seen) -> Seen:
            return {"seen": [state["message"]]}

        async def answer(state: Seen) -> Seen:
            if state["message"] == "ask":
                interrupt("go on?")
                self.half_way.set()
                await self.go_on.wait()
            return {"answer": ",".join(state["seen"])}

        graph = StateGraph(Seen).add_node(note).add_node(answer, metadata={"speaks": True})
        return graph.add_edge(START, "note").add_edge("note", "answer")

    async def turn(self, message: str) -> tuple[Job, Head, str]:
        """To its end in the store of chats; what is behind that is left to the test."""
        job = Job(new_id(), "c", "u", "A2", message, "r")
        await self.chats.add_question(job)
        told = await self._run(asked(message, await self.heads.begin(job)))
        await self.chats.keep_answer(job, told.done.answer, "completed", 1, head=told.head)
        return job, told.head, told.done.answer

    async def _run(self, question: Question) -> Advanced:
        told = await self._chat.pipeline.run(question, lambda _: None)
        if isinstance(told, Pause):
            given = {each.input_id: True for each in told.requests}
            question = replace(question, resumption=Resumption(told, given))
            told = await self._chat.pipeline.run(question, lambda _: None)
        assert isinstance(told, Advanced)
        return told

    async def in_use(self, job: Job) -> set[str]:
        return set(await self.heads.in_use(job, now()))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_url, schema=f"test_{secrets.token_hex(8)}")
    await database.open()
    await PostgresChats(database).open(KeptChat("c", "u", None, now()))
    yield database
    await database.run(drop)
    await database.aclose()


async def test_the_next_job_keeps_what_it_builds_on(path: Path, database: PostgresDatabase) -> None:
    house = House(path, database)
    first, head, _ = await house.turn("a")
    keep = await house.in_use(first)
    running = asyncio.create_task(house.turn("ask"))
    await asyncio.wait_for(house.half_way.wait(), 10)
    await house.checkpoints.prune(head.thread_id, keep, first.id)
    house.go_on.set()
    await running
    assert (await house.turn("b"))[2] == "a,ask,b"


async def test_what_was_in_use_before_another_job_was_over_decides_nothing(
    path: Path, database: PostgresDatabase
) -> None:
    house = House(path, database)
    first, head, _ = await house.turn("a")
    keep = await house.in_use(first)
    second, _, _ = await house.turn("b")
    before = await rows(database)
    await house.checkpoints.prune(head.thread_id, keep, first.id)
    assert await rows(database) == before
    await house.checkpoints.prune(head.thread_id, await house.in_use(second), second.id)
    assert (await rows(database))["checkpoints"] < before["checkpoints"]
    assert (await house.turn("c"))[2] == "a,b,c"
