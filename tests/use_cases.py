"""The use cases over a memory log, chats in memory and the queue of this process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sluice.application.answer_input import AnswerInput
from sluice.application.chats import DeleteChat, ShowChat
from sluice.application.deliveries import Deliveries
from sluice.application.encoding import Batch
from sluice.application.follow import FollowJob
from sluice.application.jobs import CancelJob, ShowJob
from sluice.application.metrics import JobMetrics
from sluice.application.pauses import Pauses
from sluice.application.ports import Accepted, PipelinePort
from sluice.application.process_chat import ProcessChat
from sluice.application.scheduling import Bounds, WhenBusy
from sluice.application.submit import NewMessage, SubmitMessage
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Chat, Job, now
from sluice.domain.events import QUEUED, Cursor, Event, Recorded
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.json_schema import check_value
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.joint_writes import JointWrites
from sluice.interfaces.protocols.native.encoder import encoder_for
from tests.doubles import FixedFlag, MockPipeline, a_job, publish

ONE_AND_ONE = Bounds(running=1, queued=1)


def waiting() -> asyncio.Event:
    """A pipeline that plays this waits for ever."""
    return asyncio.Event()


@dataclass(eq=False)
class UseCases:
    """`pipeline` is what every job runs."""

    database: SqliteDatabase
    bounds: Bounds
    pipeline: MockPipeline
    streams: int | None
    input_timeout: float = 60
    when_busy: WhenBusy = "enqueue"
    durable: bool = False
    joint: JointWrites | None = None
    log: MemoryEventLog = field(default_factory=MemoryEventLog)
    """Or any other."""
    flag: FixedFlag = field(default_factory=FixedFlag)
    metrics: JobMetrics = field(default_factory=JobMetrics)

    def __post_init__(self) -> None:
        self.chats = SqliteChats(self.database, self.joint)
        self.sessions = SqliteSessions(self.database)
        self.keys = SqliteIdempotency(self.database)
        self.pauses = SqlitePauses(self.database)
        process = self.processing(self.pipeline)
        self.queue = InlineJobQueue(
            process, self.bounds, when_busy=self.when_busy, durable=self.durable
        )
        self.answer = AnswerInput(self.pauses, self.log, self.queue, check_value)
        readers = CancelUnread(self.queue, self.log)
        self.submit = SubmitMessage(
            self.chats, self.sessions, self.keys, self.log, self.queue, self.flag, readers
        )
        self.delete_chat = DeleteChat(self.chats, self.log, self.queue)
        self.show_chat = ShowChat(self.chats, self.log)
        self.show_job = ShowJob(self.log, self.pauses)
        self.cancel = CancelJob(self.log, self.queue)
        self.outcomes = SqliteOutcomes(self.database)
        self.deliveries = Deliveries(self.outcomes, self.metrics, retention=60)
        self.follow_job = FollowJob(
            self.log, readers, self.metrics, self.deliveries, streams=self.streams
        )

    def processing(self, pipeline: PipelinePort, **options: Any) -> ProcessChat:
        pauses = Pauses(self.pauses, self.log, timeout=self.input_timeout)
        return ProcessChat(pipeline, self.log, self.chats, self.metrics, pauses, **options)

    def process(self, *plays: Any) -> ProcessChat:
        return self.processing(MockPipeline(*plays))

    async def ask(self, message: str | None = "Why?", **fields: Any) -> Accepted:
        given = {"user": "ann", "request_id": "request", "message": message}
        return await self.submit(NewMessage(**given | fields))

    async def a_chat(self, chat_id: str = "chat", user: str = "ann") -> Chat:
        return await self.chats.open(Chat(chat_id, user, None, now()))

    async def a_log(self, *events: Event, job: Job | None = None) -> Job:
        """A job with its question, and what was told of it; nothing runs it."""
        job = job or a_job()
        await self.a_chat(job.chat_id, job.user)
        await self.chats.add_question(job)
        await self.log.create(job, QUEUED)
        if events:
            await publish(await self.log.begin(job.id), *events)
        return job

    async def read(self, job: str, user: str = "ann", after: Cursor | None = None) -> list[Event]:
        """The whole stream, which ends by itself."""
        return [one.event for one in await self.records(job, user, after)]

    async def records(
        self, job: str, user: str = "ann", after: Cursor | None = None
    ) -> list[Recorded]:
        batches = await self.follow(user, job, after=after)
        return [one async for batch in batches for one in batch.events]

    async def follow(
        self, user: str, job: str, *, after: Cursor | None
    ) -> AsyncGenerator[Batch, None]:
        return await self.follow_job(user, job, after=after, encoder_for=encoder_for)

    async def unfinished(self) -> list[str]:
        return [job.id for job in await self.log.unfinished()]

    async def said(self, chat_id: str = "chat", user: str = "ann") -> list[tuple[str, str, str]]:
        messages = await self.chats.messages(user, chat_id)
        return [(message.role, message.content, message.status) for message in messages]


def use_cases_over(
    database: SqliteDatabase,
    *plays: Any,
    bounds: Bounds | None = None,
    streams: int | None = None,
    **options: Any,
) -> UseCases:
    return UseCases(database, bounds or Bounds(), MockPipeline(*plays), streams, **options)


@asynccontextmanager
async def use_cases(*plays: Any, **options: Any) -> AsyncIterator[UseCases]:
    """Whatever still runs at the end is cancelled."""
    database = SqliteDatabase(":memory:")
    await database.open()
    house = use_cases_over(database, *plays, **options)
    try:
        yield house
    finally:
        await house.queue.drain(grace=0)
        await database.aclose()
