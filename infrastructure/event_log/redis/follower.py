"""The reading half of the Redis log: one connection brings the news of every followed log.

It fills a Tail for each, which all local readers share and which is gone with the last of them.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from sluice.application.ports import Push
from sluice.application.wire import record
from sluice.domain.chat import JobId
from sluice.domain.errors import NotFound, Unavailable, trace
from sluice.domain.events import Cursor, Recorded
from sluice.infrastructure.event_log.buffer import Tail
from sluice.infrastructure.event_log.redis.entries import events
from sluice.infrastructure.event_log.redis.keys import log_key
from sluice.infrastructure.redis.client import RedisClient, command, packed

logger = logging.getLogger(__name__)

_TICK = 0.01
"""Seconds between two reads: the first news of a quiet moment come at once."""
_PAUSE = 0.2
"""Seconds between two tries while Redis is down."""
_BLOCK = 5
"""Seconds that a read waits for news: a connection that died unseen is noticed then."""
_PAGE = 500
"""Entries read at once: a long log must not keep the others waiting."""

Entry = tuple[bytes, Sequence[bytes]]


class FollowedTail(Tail):
    __slots__ = ("__weakref__", "key", "packed_key")

    def __init__(self, key: bytes, records: Iterable[Recorded]) -> None:
        super().__init__(records)
        self.key, self.packed_key = key, packed(key)

    def take(self, entries: Iterable[Entry]) -> None:
        """Entries in the log's order."""
        self.add(records(entries))

    def add(self, found: Iterable[Recorded]) -> None:
        """What is here already is left out."""
        last = self.last
        fresh = [new for new in found if new.id > last]
        if fresh:
            self.append(fresh)


def records(entries: Iterable[Entry]) -> list[Recorded]:
    """Raises Unavailable for what this version cannot read: a newer one may have written it."""
    found = []
    for entry_id, (name, stored) in entries:
        if name != b"e":
            continue
        attempt, seq = map(int, entry_id.split(b"-"))
        try:
            said = events(stored)
        except (ValueError, TypeError, LookupError) as error:
            raise Unavailable("a log holds what cannot be read") from error
        before = seq - len(said)
        found += [record(Cursor(attempt, before + n), event) for n, event in enumerate(said, 1)]
    return found


class Feed:
    def __init__(self, server: RedisClient) -> None:
        self._server, self._line = server, server.connection()
        self._tails: WeakValueDictionary[bytes, FollowedTail] = WeakValueDictionary()
        self._wake = f"sluice:wake:{secrets.token_hex(8)}".encode()
        self._woken = b"0-0"
        self._task: asyncio.Task[None] | None = None
        self._leaving: Unavailable | None = None

    async def follow(
        self, job_id: JobId, after: Cursor | None, push: Push | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        """Raises NotFound, Finished and Unavailable."""
        if self._leaving is not None:
            raise self._leaving
        key = log_key(job_id)
        tail = self._tails.get(key)
        if tail is None or tail.broken is not None:
            tail = await self._followed(key, await self.read(job_id))
        elif after is not None:
            await self._catch_up(tail, after)
        return tail.follow(after, push)

    async def read(self, job_id: JobId) -> list[Recorded]:
        """The whole log as it is now; NotFound if there is none."""
        key, found = log_key(job_id), list[Recorded]()
        more = True
        while more:
            page = await self._page(key, found[-1].id if found else Cursor(0, 0))
            found += records(page)
            if not found or (page and page[-1][1][0] != b"e"):
                raise NotFound(job_id)
            more = len(page) == _PAGE
        return found

    def forget(self, job_id: JobId) -> None:
        if (tail := self._tails.get(log_key(job_id))) is not None:
            tail.breaks(NotFound(job_id))

    def hang_up(self) -> None:
        self._leaving = Unavailable("the service is shutting down")
        for tail in list(self._tails.values()):
            tail.breaks(self._leaving)

    async def aclose(self) -> None:
        self.hang_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._line.aclose()

    async def _followed(self, key: bytes, found: list[Recorded]) -> FollowedTail:
        """The tail that all who follow at once share; live ones get the news."""
        tail = self._tails.get(key)
        if tail is None or tail.broken is not None:
            tail = self._tails[key] = FollowedTail(key, found)
        else:  # another reader's, who came at the same time and may have seen less
            tail.add(found)
        if not tail.ended:
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="log reader")
            else:
                await self._interrupt()
        return tail

    async def _catch_up(self, tail: FollowedTail, after: Cursor) -> None:
        """With a reader that has read on at another gateway."""
        more = True
        while more and after > tail.last and not tail.ended:
            page = await self._page(tail.key, tail.last)
            tail.take(page)
            more = len(page) == _PAGE

    async def _interrupt(self) -> None:
        """Ends the read that waits without the new tail."""
        add = ("XADD", self._wake, "MAXLEN", 1, "*", "w", "")
        await self._server.ask_all([add, ("EXPIRE", self._wake, 60)])

    async def _page(self, key: bytes, after: Cursor) -> Sequence[Entry]:
        page = await self._server.ask("XRANGE", key, f"({after}", "+", "COUNT", _PAGE)
        return [(entry_id, *fields.items()) for entry_id, fields in page]

    async def _run(self) -> None:
        try:
            while commands := self._question():
                await self._ask(commands)
                await asyncio.sleep(_TICK)
        finally:
            self._task = None

    def _question(self) -> bytes | None:
        """One XREAD over every live tail. No strong reference to a tail outlives this."""
        live = [tail for tail in self._tails.values() if not tail.ended and tail.broken is None]
        if not live:
            return None
        ids = [b"%d-%d" % tail.last for tail in live]
        return command(
            8 + 2 * len(live),
            packed(b"XREAD", b"COUNT", b"%d" % _PAGE, b"BLOCK", b"%d" % (_BLOCK * 1000)),
            packed(b"STREAMS", self._wake),
            *[tail.packed_key for tail in live],
            packed(self._woken, *ids),
        )

    async def _ask(self, commands: bytes) -> None:
        try:
            (answer,) = await self._line.ask(commands, 1, within_s=_BLOCK + 3)
        except Unavailable as error:
            answer = error
        if isinstance(answer, Exception):
            logger.error("the logs cannot be read: %s", trace(answer))
            await self._recover()
        else:
            self._spread(answer or ())

    def _spread(self, answer: Iterable[tuple[bytes, Sequence[Entry]]]) -> None:
        for key, entries in answer:
            if key == self._wake:
                self._woken = entries[-1][0]
            elif (tail := self._tails.get(key)) is not None:
                try:
                    tail.take(entries)
                except Unavailable as error:
                    logger.error("a log cannot be read: %s", trace(error))
                    tail.breaks(error)
                if entries[-1][1][0] != b"e":
                    tail.breaks(NotFound(key))

    async def _recover(self) -> None:
        """Waits for Redis. Readers whose logs it has lost meanwhile are sent away."""
        kept: list[Any] | None = None
        while kept is None:
            await asyncio.sleep(_PAUSE)
            keys = list(self._tails.keys())
            with suppress(Unavailable):
                kept = await self._server.ask_all([("EXISTS", key) for key in keys])
        logger.warning("the logs are read again")
        for key, there in zip(keys, kept, strict=True):
            if not there and (tail := self._tails.get(key)) is not None and not tail.ended:
                tail.breaks(Unavailable("the log is lost"))
