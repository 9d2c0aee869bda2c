"""The log in Redis: a stream for each job, read and written by any number of processes."""

import logging
import secrets
from collections.abc import AsyncGenerator, Sequence

from sluice.application.encoding import Batch, Encoder, Handed, Push
from sluice.application.ports import JobLog
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ChatId, Job, JobId, moment
from sluice.domain.errors import Finished, NotFound, Superseded, Unavailable
from sluice.domain.events import Cursor, Event, Recorded
from sluice.infrastructure.event_log.redis.attempt import RedisAttempt
from sluice.infrastructure.event_log.redis.entries import body, dump, item, load
from sluice.infrastructure.event_log.redis.follower import FollowedLog, Follower
from sluice.infrastructure.event_log.redis.keys import chat_key, header_key, log_key
from sluice.infrastructure.event_log.redis.publisher import Publisher
from sluice.infrastructure.event_log.redis.scripts import BEGIN, CREATE, DELETE, LIST
from sluice.infrastructure.redis.client import RedisClient

logger = logging.getLogger(__name__)

_UNENDED_MS = 30 * 24 * 3600 * 1000
"""Milliseconds that a chat's index names a job which does not end: it may not have begun."""


class RedisEventLog:
    """`retention`: seconds that a log can be read after its end; before that nothing expires."""

    def __init__(self, server: RedisClient, *, retention: float = 3600) -> None:
        self._server, self._retention = server, int(retention * 1000)
        self._publisher = Publisher(server, self._retention, self._open, self._over)
        self._follower = Follower(server)

    async def open(self) -> None:
        """Redis may be down: it is waited for where it is needed."""

    async def create(self, job: Job, first: Event, *, begins: bool = False) -> None:
        await self._open(job, 0, first)

    async def settle(self, job_id: JobId) -> None:
        """It is as durable as Redis makes it."""

    async def begin(
        self, job_id: JobId, *, after: int | None = None, goes_on: bool = False
    ) -> RedisAttempt:
        """Raises Unavailable only before anything has begun: once asked, it is asked again."""
        await self._publisher.flushed(job_id)
        if after is None:
            after = await self.attempts(job_id)
        by = secrets.token_hex(8)
        run = self._server.run
        how = by, after, int(goes_on)
        begun = await self._publisher.persist(lambda: run(BEGIN, _keys(job_id), *how))
        if begun is None:
            raise NotFound(job_id)
        if begun == b"ended":
            raise Finished
        if begun == b"begun":
            raise Superseded
        attempt, last, job = begun
        return self._publisher.begun(load(job), attempt, by, _cursor(last))

    async def attempts(self, job_id: JobId) -> int:
        return int(await self._header(job_id, "attempt"))

    async def is_paused(self, job_id: JobId) -> bool:
        return bool(await self._header(job_id, "paused"))

    async def job(self, job_id: JobId) -> Job:
        return load(await self._header(job_id, "job"))

    async def read(self, job_id: JobId) -> JobLog:
        await self._publisher.flushed(job_id)
        job, ended = await self._server.ask("HMGET", header_key(job_id), "job", "ended")
        if job is None:
            raise NotFound(job_id)
        ended_at = None if ended is None else moment(int(ended))
        return JobLog(load(job), await self._follower.read(job_id), ended_at)

    async def follow(
        self, job_id: JobId, *, after: Cursor | None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        return (await self._followed(job_id, after)).follow(after)

    async def follow_encoded(
        self,
        job_id: JobId,
        *,
        encoder: Encoder,
        after: Cursor | None,
        skip: int = 0,
        push: Push | None = None,
        handed: Handed | None = None,
    ) -> AsyncGenerator[Batch, None]:
        log = await self._followed(job_id, after)
        return log.follow_encoded(after, encoder, skip, push, handed)

    async def unfinished(self, chat_id: ChatId | None = None) -> Sequence[Job]:
        keys = await (self._headers() if chat_id is None else self._listed(chat_id))
        headers = await self._server.ask_all([("HMGET", key, "job", "ended") for key in keys])
        running = [load(job) for job, ended in headers if job is not None and ended is None]
        return sorted(running, key=lambda job: job.created_at)

    async def delete(self, chat_id: ChatId) -> None:
        for listed in await self._server.ask("ZRANGE", chat_key(chat_id), 0, -1):
            job_id = listed.decode()
            self._publisher.supersede(job_id)
            self._follower.forget(job_id)
            await self._server.run(DELETE, _keys(job_id))
        await self._server.ask("DEL", chat_key(chat_id))

    async def check(self) -> None:
        await self._server.check()

    def hang_up(self) -> None:
        self._follower.hang_up()

    async def aclose(self) -> None:
        """Everything published is in Redis when this returns, if it can be reached."""
        await self._publisher.aclose()
        await self._follower.aclose()

    async def _followed(self, job_id: JobId, after: Cursor | None) -> FollowedLog:
        await self._publisher.flushed(job_id)
        return await self._follower.followed(job_id, after)

    async def _open(self, job: Job, attempt: int, first: Event) -> None:
        """Listed first: an index may name what is not there, but not miss what is."""
        if await self._server.ask("EXISTS", header_key(job.id)):
            return
        await self._list(job, _UNENDED_MS)
        opened = dump(job), attempt, f"{attempt or 1}-1", body([item(first)])
        await self._server.run(CREATE, _keys(job.id), *opened)

    async def _over(self, job: Job) -> None:
        """Missed, it costs no more than a name in the index for a while."""
        try:
            await self._list(job, self._retention)
        except Unavailable as error:
            logger.warning("job %s stays in its chat's index: %s", job.id, format_traceback(error))

    async def _list(self, job: Job, milliseconds: int) -> None:
        await self._server.run(LIST, [chat_key(job.chat_id)], job.id, milliseconds)

    async def _listed(self, chat_id: ChatId) -> list[bytes]:
        """Keys of headers, some of which may not be there."""
        listed = await self._server.ask("ZRANGE", chat_key(chat_id), 0, -1)
        return [header_key(job_id.decode()) for job_id in listed]

    async def _header(self, job_id: JobId, field: str) -> bytes:
        """Empty for a field that is not there."""
        job, value = await self._server.ask("HMGET", header_key(job_id), "job", field)
        if job is None:
            raise NotFound(job_id)
        stored: bytes = value or b""
        return stored

    async def _headers(self) -> list[bytes]:
        found, cursor = list[bytes](), None
        while cursor != 0:
            pattern = "MATCH", header_key("*"), "COUNT", 1000
            cursor, keys = await self._server.ask("SCAN", cursor or 0, *pattern)
            found += keys
        return found


def _keys(job_id: JobId) -> list[bytes]:
    return [header_key(job_id), log_key(job_id)]


def _cursor(stored: bytes) -> Cursor:
    attempt, seq = stored.split(b"-")
    return Cursor(int(attempt), int(seq))
