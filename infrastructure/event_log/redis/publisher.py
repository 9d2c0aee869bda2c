"""The writing half of the Redis log: what this process's jobs say leaves in common batches.

A token waits for no round trip. Whatever happens to a batch, the same entries are sent again under
the same ids: nothing is written twice. An entry's id is its last event's; readers count back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from redis.exceptions import NoScriptError

from sluice.application.outages import Outage
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Superseded, Unavailable
from sluice.domain.events import Cursor, Event
from sluice.infrastructure.event_log.redis.attempt import RedisAttempt
from sluice.infrastructure.event_log.redis.scripts import APPEND
from sluice.infrastructure.redis.client import RedisClient

logger = logging.getLogger(__name__)
T = TypeVar("T")

_FLUSH_INTERVAL_S = 0.01
"""Seconds between two batches: the first token of a quiet moment leaves at once."""
_RETRY_DELAY_S = 0.2
"""Seconds between two tries while Redis is down."""


class Publisher:
    """Sends what the attempts of this process have said. `retention` is in milliseconds.

    `create` opens a log with its first event, `over` is told of each job whose end is written.
    """

    def __init__(
        self,
        server: RedisClient,
        retention: int,
        create: Callable[[Job, int, Event], Awaitable[None]],
        over: Callable[[Job], Awaitable[None]],
    ) -> None:
        self.retention, self._create, self.over = retention, create, over
        self._server, self._line = server, server.connection()
        self._attempts: WeakValueDictionary[JobId, RedisAttempt] = WeakValueDictionary()
        self._dirty: dict[RedisAttempt, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._outage = Outage(logger, "the log cannot be written", "the log is written again")

    def begun(self, job: Job, attempt: int, by: str, before: Cursor) -> RedisAttempt:
        """Raises Superseded if this process has begun a later one since Redis answered."""
        if (known := self._attempts.get(job.id)) is not None and known.attempt > attempt:
            raise Superseded
        self.supersede(job.id)
        new = self._attempts[job.id] = RedisAttempt(self, job, attempt, by, before)
        return new

    def supersede(self, job_id: JobId) -> None:
        if (earlier := self._attempts.get(job_id)) is not None:
            earlier.supersede()

    async def flushed(self, job_id: JobId) -> None:
        """Returns when what was said of the job in this process can be read."""
        if (attempt := self._attempts.get(job_id)) is not None and attempt.pending:
            try:
                async with asyncio.timeout(3):
                    await attempt.told()
            except TimeoutError as error:
                raise Unavailable("Redis cannot be reached") from error

    def carry(self, attempt: RedisAttempt) -> None:
        if self._closed:
            raise Unavailable("the log is closed")
        self._dirty[attempt] = None
        if self._task is None:
            # Not in the context of the node that speaks: the writer would keep all of its run.
            self._task = asyncio.create_task(self._run(), name="log writer", context=Context())

    async def open_anew(self, job: Job, attempt: int, first: Event) -> None:
        await self.persist(lambda: self._create(job, attempt, first))

    async def persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Until Redis answers: what was asked without an answer may have been done all the same."""
        while not self._closed:
            try:
                return await ask()
            except Unavailable as error:
                self._outage.note(format_traceback(error))
                await asyncio.sleep(_RETRY_DELAY_S)
        raise Unavailable("the log is closed")

    async def aclose(self) -> None:
        """What was said is in Redis by now, or in a moment, or its publishers are told."""
        self._closed = True
        if (task := self._task) is not None:
            await asyncio.wait([task], timeout=3)
            task.cancel()
            await asyncio.wait([task])
        for attempt in self._dirty:
            attempt.give_up()
        await self._line.aclose()

    async def _run(self) -> None:
        try:
            while self._dirty:
                await self._flush()
                await asyncio.sleep(_RETRY_DELAY_S if self._outage.lasts else _FLUSH_INTERVAL_S)
        finally:
            self._task = None

    async def _flush(self) -> None:
        dirty, self._dirty = self._dirty, {}
        batch = [attempt for attempt in dirty if attempt.pending]
        try:
            commands = b"".join([attempt.entry() for attempt in batch])
            answers = await self._line.ask(commands, len(batch))
            await self._take(batch, answers)
        except Unavailable as error:
            self._outage.note(format_traceback(error))
        finally:
            self._dirty |= {attempt: None for attempt in batch if attempt.pending}

    async def _take(self, batch: list[RedisAttempt], answers: list[Any]) -> None:
        """Raises Unavailable when Redis refused some for a reason that is not ours."""
        refusal: Exception | None = None
        for attempt, answer in zip(batch, answers, strict=True):
            if isinstance(answer, int):
                attempt.answered(answer)
            else:
                refusal = answer
        if isinstance(refusal, NoScriptError):
            await self._server.ask("SCRIPT LOAD", APPEND)
        elif refusal is not None:
            raise Unavailable("Redis refuses to write") from refusal
        else:
            self._outage.note(None)
