"""A job in a memory log, and what is told and kept of it."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from sluice.application.chat_ports import ChatPort
from sluice.application.metrics import JobMetrics
from sluice.application.outcomes import OutcomesPort
from sluice.application.pause_port import PausePort
from sluice.application.pauses import Pauses
from sluice.application.process_chat import ProcessChat
from sluice.domain.chat import Chat, now
from sluice.domain.events import (
    QUEUED,
    TERMINAL,
    Done,
    Event,
    Failed,
    StageCompleted,
    StageStarted,
)
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import MockPipeline, a_job

DONE = Done("A2", "ab")


STARTED, COMPLETED = StageStarted("answer", 0), StageCompleted("answer", 100)


class Bench:
    """A job in a memory log, and what its processing left behind."""

    def __init__(self, chats: ChatPort, outcomes: OutcomesPort, pauses: PausePort) -> None:
        self.log = MemoryEventLog()
        self.chats, self.outcomes = chats, outcomes
        self.store, self.pauses = pauses, Pauses(pauses, self.log, timeout=60)
        self.job = a_job()

    async def opened(self) -> None:
        await self.chats.open(Chat(self.job.chat_id, self.job.user, None, now()))
        await self.chats.add_question(self.job)
        await self.log.create(self.job, QUEUED)

    def process(self, *plays: Any, **options: Any) -> Callable[..., Any]:
        pipeline = MockPipeline(*plays)
        return ProcessChat(pipeline, self.log, self.chats, JobMetrics(), self.pauses, **options)

    async def told(self) -> list[Event]:
        """Everything behind `queued`; exactly one terminal event, and it is the last."""
        log = await self.log.read(self.job.id)
        events = [recorded.event for recorded in log.events][1:]
        assert [isinstance(event, TERMINAL) for event in events].count(True) == 1
        assert isinstance(events[-1], TERMINAL)
        return events

    async def kept(self) -> list[tuple[str, str, str]]:
        messages = await self.chats.messages(self.job.user, self.job.chat_id)
        return [(m.role, m.content, m.status) for m in messages]


def failed(error: type[Any]) -> Failed:
    return Failed(error.code, error.public, error.retryable, "request")


async def reads(bench: Bench, count: int) -> None:
    """Until the job's log holds that many events."""
    async with asyncio.timeout(5):
        seen = 0
        async with aclosing(await bench.log.follow(bench.job.id, after=None)) as batches:
            async for batch in batches:
                seen += len(batch)
                if seen >= count:
                    return
