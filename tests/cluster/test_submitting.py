"""A question whose gateway loses its Redis half way, and that is asked again with its key.

Every command of a submission is lost in turn: on its way, or obeyed and its answer lost.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from application.orphans import Orphans
from application.ports import Accepted
from application.process_chat import ProcessChat
from application.submit import NewMessage, SubmitMessage
from application.tally import Tally
from domain.errors import Unavailable
from domain.events import Done, Event, Token
from infrastructure.conversations.sqlite import SqliteConversations
from infrastructure.event_log.redis import RedisEventLog
from infrastructure.jobs.places import Places
from infrastructure.jobs.shared import Bounds
from infrastructure.jobs.streaq import StreaqJobQueue
from infrastructure.jobs.worker import JobWorker
from infrastructure.redis.client import Server, Word
from infrastructure.sqlite.database import Database
from tests.doubles import FixedFlag, MockPipeline

COMMANDS = ["is it there", "admit", "is it made", "list", "make", "ready"]


class LossyServer(Server):
    """Loses some of what it is asked, counted from nought; if it is obeyed, only the answer."""

    lost = range(0)
    obeyed = False
    asked = 0

    async def ask(self, *command: Word) -> Any:
        return await self._lossy(super().ask(*command))

    async def run(self, script: str, keys: Any, *arguments: Word) -> Any:
        return await self._lossy(super().run(script, keys, *arguments))

    async def _lossy(self, asking: Coroutine[Any, Any, Any]) -> Any:
        self.asked += 1
        if self.asked - 1 not in self.lost:
            return await asking
        if self.obeyed:
            await asking
        else:
            asking.close()
        raise Unavailable


class House:
    """A gateway that loses commands, and a sound worker."""

    def __init__(self, url: str, database: Database) -> None:
        self.server, sound = LossyServer.at(url), Server.at(url)
        self.servers = [self.server, sound]
        self.conversations = SqliteConversations(database)
        self.log, self._gateways = RedisEventLog(sound), RedisEventLog(self.server)
        self.queue = StreaqJobQueue(Places(self.server), Bounds())
        orphans = Orphans(self.queue, self._gateways)
        self._submit = SubmitMessage(
            *(self.conversations, self._gateways, self.queue, FixedFlag(), orphans)
        )
        pipeline = MockPipeline(Token("a", "x"), Done("A2", "a"))
        process = ProcessChat(pipeline, self.log, self.conversations, Tally())
        self.places = Places(sound)
        self.worker = JobWorker(url, self.places, self.log, process, Bounds())

    async def ask(self, key: str | None = None) -> Accepted:
        new = NewMessage("ann", "request", message="Why?", idempotency_key=key)
        return await self._submit(new)

    async def insist(self) -> Accepted:
        """As a client does: with one key, until it is told that there is a job."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await self.ask("key")
                except Unavailable:
                    await asyncio.sleep(0.05)

    async def told(self, job_id: str) -> list[Event]:
        async with asyncio.timeout(10):
            batches = await self.log.follow(job_id, after=None)
            return [one.event async for batch in batches for one in batch]


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    database = Database(":memory:")
    await database.open()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.aclose)
        house = House(redis_url, database)
        for server in house.servers:
            stack.push_async_callback(server.aclose)
        stack.push_async_callback(house.log.aclose)
        running = asyncio.create_task(house.worker.run())
        stack.push_async_callback(asyncio.wait, [running])
        stack.push_async_callback(house.worker.drain, 0)
        async with asyncio.timeout(10):
            while not (await house.places.count()).workers:  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0.01)
        yield house


@pytest.mark.parametrize("obeyed", [False, True], ids=["lost", "obeyed"])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("first", range(len(COMMANDS)), ids=COMMANDS)
async def test_one_key_is_one_question_and_one_answer(
    house: House, first: int, times: int, obeyed: bool
) -> None:
    house.server.lost, house.server.obeyed = range(first, first + times), obeyed
    accepted = await house.insist()
    assert (await house.told(accepted.job_id))[-1] == Done("A2", "a")
    assert house.server.asked > first + times
    said = await house.conversations.messages("ann", accepted.chat_id)
    assert [(one.role, one.job_id) for one in said] == [
        ("user", accepted.job_id), ("assistant", accepted.job_id),
    ]  # fmt: skip


async def test_a_last_step_that_may_be_done_is_asked_for_again(house: House) -> None:
    """Without a key a refusal would be asked again as another question."""
    house.server.lost, house.server.obeyed = range(4, 5), True
    accepted = await house.ask()
    assert house.server.asked == len(COMMANDS)
    assert (await house.told(accepted.job_id))[-1] == Done("A2", "a")
