"""One attempt's way into the Redis log: what it says, until it is answered for by Redis."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable
from typing import Protocol

from sluice.application.coalescing import split
from sluice.domain.chat import Job, micros, now
from sluice.domain.errors import StreamLost, Superseded, Unavailable
from sluice.domain.events import Cursor, Done, Event, Reset, Token
from sluice.infrastructure.event_log.redis.entries import body, item
from sluice.infrastructure.event_log.redis.keys import header_key, log_key
from sluice.infrastructure.event_log.redis.scripts import APPEND, LOST, WRITTEN
from sluice.infrastructure.redis.client import command, packed

logger = logging.getLogger(__name__)

_EVALSHA = packed(b"EVALSHA", hashlib.sha1(APPEND.encode()).hexdigest().encode(), b"2")  # noqa: S324


class Publisher(Protocol):
    """Sends what attempts have said; see publisher.py."""

    retention: int

    def over(self, job: Job, /) -> Awaitable[None]: ...

    def carry(self, attempt: "RedisAttempt") -> None: ...

    async def open_anew(self, job: Job, attempt: int, first: Event) -> None: ...


class RedisAttempt:
    """The NotifierPort over one attempt of a job. It numbers what is said: `_seq` is the last
    event's; an entry's id is that of its last event, and readers count back.

    Tokens are on their way when `publish` returns; an end is in Redis. An attempt whose log
    Redis has lost raises StreamLost; its end is told in a new log, as the attempt after it.
    """

    def __init__(
        self, publisher: Publisher, job: Job, attempt: int, by: str, before: Cursor
    ) -> None:
        self._publisher, self._job, self.attempt = publisher, job, attempt
        self._by = by.encode()
        self._keys = packed(header_key(job.id), log_key(job.id))
        self._before, self._seq = before, before.seq if before.attempt == attempt else 0
        self._waiting: list[bytes] = []
        self._entry: bytes | None = None
        self._idle = asyncio.Event()
        self._end: Event | None = None
        self._superseded = self._lost = self._given_up = self._pauses = False

    def publish(self, *events: Event) -> None:
        self._require_open()
        self._say(events)

    async def flush(self) -> None:
        self._require_open()
        if self.pending:
            await self.told()
        self._require_open()

    async def pause(self, *events: Event) -> None:
        self._require_open()
        self._pauses = True
        self._say(events)
        await self.told()
        self._require_open()
        self.supersede()

    async def end(self, *events: Event) -> None:
        if self._superseded or self._end is not None:
            raise Superseded
        self._end = end = events[-1]
        if not self._lost:
            self._say(events)
            await self.told()
        if self._lost:
            await self._tell_anew(end)
        if self._superseded or self._lost:
            raise Superseded
        await self._publisher.over(self._job)

    def _require_open(self) -> None:
        if self._superseded or self._end is not None:
            raise Superseded
        if self._lost:
            raise StreamLost

    async def told(self) -> None:
        """Returns when everything said is in Redis, or will never be."""
        await self._idle.wait()
        if self._given_up:
            raise Unavailable("the log is closed")

    @property
    def pending(self) -> bool:
        return self._entry is not None or bool(self._waiting)

    def entry(self) -> bytes:
        """The command that writes what waits: the same one until it is answered."""
        if self._entry is None:
            self._before, before = Cursor(self.attempt, self._seq), self._before
            parts = [b"%d" % self.attempt, self._by, b"%d-%d" % before, b"%d-%d" % self._before]
            parts.append(body(self._waiting))
            if self._pauses:
                parts.append(b"paused")
            elif self._end is not None:
                parts += [b"%d" % micros(now()), b"%d" % self._publisher.retention]
            self._waiting = []
            self._entry = command(5 + len(parts), _EVALSHA, self._keys, packed(*parts))
        return self._entry

    def answered(self, answer: int) -> None:
        self._entry = None
        if answer == WRITTEN:
            if not self._waiting:
                self._idle.set()
        elif answer == LOST:
            logger.error("the log of job %s is lost", self._job.id)
            self._lost = True
            self._drop()
        else:
            self.supersede()

    def supersede(self) -> None:
        self._superseded = True
        self._drop()

    def give_up(self) -> None:
        self._given_up = True
        self._drop()

    def _say(self, events: tuple[Event, ...]) -> None:
        self._waiting += [item(event) for event in events]  # all of them, or it has raised
        self._seq += len(events)
        self._idle.clear()
        self._publisher.carry(self)

    async def _tell_anew(self, end: Event) -> None:
        """What was said is lost, but the answer need not be."""
        self._lost = False
        self.attempt += 1
        self._before, self._seq = Cursor(self.attempt, 1), 1
        await self._publisher.open_anew(self._job, self.attempt, Reset("new_attempt"))
        spoken = end.answer if isinstance(end, Done) and end.path == "A2" else ""
        self._say((*split(Token(spoken, "")), end))
        await self.told()

    def _drop(self) -> None:
        self._waiting, self._entry = [], None
        self._idle.set()
