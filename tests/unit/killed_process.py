"""A service without its middle, to be killed: writes six jobs, tells on stdout what readers see.

    python -m tests.unit.killed_process FILE

Every token says its own id. What an earlier process left unfinished is taken up again.
"""

import asyncio
import json
import sys

from sluice.domain.chat import Chat, Job, new_id, now
from sluice.domain.events import QUEUED, Done, Reset, Token
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.interfaces.protocols.native.encoder import frame


class Service:
    def __init__(self, database: SqliteDatabase) -> None:
        self.log = SqliteEventLog(database)
        self.chats = SqliteChats(database)

    async def run(self) -> None:
        await self.log.open()
        jobs = await self.log.unfinished() or [await self.submitted(n) for n in range(6)]
        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                tasks.create_task(self.write(job))
                tasks.create_task(self.tell(job))
        await self.log.aclose()

    async def submitted(self, number: int) -> Job:
        job = Job(new_id(), "chat", "ann", "A2", str(20 * 2**number), "request")
        await self.chats.open(Chat("chat", "ann", "title", now()))
        await self.chats.add_question(job)
        await self.log.create(job, QUEUED)
        return job

    async def write(self, job: Job) -> None:
        notifier = await self.log.begin(job.id)
        if notifier.attempt > 1:
            notifier.publish(Reset("new_attempt"), QUEUED)
        first = 3 if notifier.attempt > 1 else 2
        said = [f"{notifier.attempt}-{first + n} " for n in range(int(job.message))]
        for text in said:
            notifier.publish(Token(text, "answer"))
            await asyncio.sleep(0.001)
        answer = "".join(said)
        await self.chats.keep_answer(job, answer, "completed", notifier.attempt)
        await notifier.end(Done("A2", answer))

    async def tell(self, job: Job) -> None:
        async for batch in await self.log.follow(job.id, after=None):
            for recorded in batch:
                line = json.dumps([job.id, *recorded.id, frame(recorded).decode()])
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


async def main(path: str) -> None:
    database = SqliteDatabase(path)
    await database.open()
    await Service(database).run()
    await database.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
