"""The reading half of the Redis log: one connection brings the news of every followed log.

It fills a FollowedLog for each, which all local readers share; it is gone with the last of them.
"""

import asyncio
import logging
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic
from weakref import WeakValueDictionary

from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import JobId
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import Cursor, Recorded
from sluice.infrastructure.event_log.buffer import Buffer
from sluice.infrastructure.event_log.redis.entries import events
from sluice.infrastructure.event_log.redis.keys import log_key
from sluice.infrastructure.redis.client import RedisClient, command, packed

logger = logging.getLogger(__name__)

_READ_INTERVAL_S = 0.01
"""Seconds between two reads: the first news of a quiet moment come at once."""
_RETRY_DELAY_S = 0.2
"""Seconds between two tries while Redis is down."""
_READ_BLOCK_S = 5
"""Seconds that a read waits for news: a connection that died unseen is noticed then."""
_LOOK_INTERVAL_S = 5
"""Seconds between two looks whether the logs of jobs that have not begun are there still."""
_QUEUED = Cursor(1, 1)
"""All that such a log has. Of a job that runs, a lost log is told anew by its worker."""
_PAGE_ENTRIES = 500
"""Entries read at once: a long log must not keep the others waiting."""

Entry = tuple[bytes, Sequence[bytes]]


class FollowedLog(Buffer):
    """What this process has read of a log that may be written anywhere."""

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
        found += [Recorded(Cursor(attempt, before + n), event) for n, event in enumerate(said, 1)]
    return found


class Follower:
    """Reads every followed log over one connection, and tells their local readers."""

    def __init__(self, server: RedisClient) -> None:
        self._server, self._line = server, server.connection()
        self._logs: WeakValueDictionary[bytes, FollowedLog] = WeakValueDictionary()
        self._wake = f"sluice:wake:{secrets.token_hex(8)}".encode()
        self._woken = b"0-0"
        self._task: asyncio.Task[None] | None = None
        self._leaving: Unavailable | None = None

    async def followed(self, job_id: JobId, after: Cursor | None) -> FollowedLog:
        """With what is behind `after`, if there is any; raises NotFound and Unavailable."""
        if self._leaving is not None:
            raise self._leaving
        key = log_key(job_id)
        log = self._logs.get(key)
        if log is None or log.broken is not None:
            log = await self._shared(key, await self.read(job_id))
        elif after is not None:
            await self._catch_up(log, after)
        return log

    async def read(self, job_id: JobId) -> list[Recorded]:
        """The whole log as it is now; NotFound if there is none."""
        key, found = log_key(job_id), list[Recorded]()
        more = True
        while more:
            page = await self._page(key, found[-1].id if found else Cursor(0, 0))
            found += records(page)
            if not found or (page and page[-1][1][0] != b"e"):
                raise NotFound(job_id)
            more = len(page) == _PAGE_ENTRIES
        return found

    def forget(self, job_id: JobId) -> None:
        if (log := self._logs.get(log_key(job_id))) is not None:
            log.breaks(NotFound(job_id))

    def hang_up(self) -> None:
        self._leaving = Unavailable("the service is shutting down")
        for log in list(self._logs.values()):
            log.breaks(self._leaving)

    async def aclose(self) -> None:
        self.hang_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._line.aclose()

    async def _shared(self, key: bytes, found: list[Recorded]) -> FollowedLog:
        """The log that all who follow at once share; live ones get the news."""
        log = self._logs.get(key)
        if log is None or log.broken is not None:
            log = self._logs[key] = FollowedLog(key, found)
        else:  # another reader's, who came at the same time and may have seen less
            log.add(found)
        if not log.ended:
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="log reader")
            else:
                await self._interrupt()
        return log

    async def _catch_up(self, log: FollowedLog, after: Cursor) -> None:
        """With a reader that has read on at another gateway."""
        more = True
        while more and after > log.last and not log.ended:
            page = await self._page(log.key, log.last)
            log.take(page)
            more = len(page) == _PAGE_ENTRIES

    async def _interrupt(self) -> None:
        """Ends the read that waits without the new log."""
        add = ("XADD", self._wake, "MAXLEN", 1, "*", "w", "")
        await self._server.ask_all([add, ("EXPIRE", self._wake, 60)])

    async def _page(self, key: bytes, after: Cursor) -> Sequence[Entry]:
        page = await self._server.ask("XRANGE", key, f"({after}", "+", "COUNT", _PAGE_ENTRIES)
        return [(entry_id, *fields.items()) for entry_id, fields in page]

    async def _run(self) -> None:
        looked = monotonic()
        try:
            while commands := self._question():
                await self._ask(commands)
                if monotonic() - looked >= _LOOK_INTERVAL_S:
                    with suppress(Unavailable):  # the next read tells
                        queued = [key for key, log in self._logs.items() if log.last == _QUEUED]
                        await self._send_away_from_lost(queued)
                    looked = monotonic()
                await asyncio.sleep(_READ_INTERVAL_S)
        finally:
            self._task = None

    def _question(self) -> bytes | None:
        """One XREAD over every live log. No strong reference to a log outlives this."""
        live = [log for log in self._logs.values() if not log.ended and log.broken is None]
        if not live:
            return None
        ids = [b"%d-%d" % log.last for log in live]
        return command(
            8 + 2 * len(live),
            packed(
                b"XREAD", b"COUNT", b"%d" % _PAGE_ENTRIES, b"BLOCK", b"%d" % (_READ_BLOCK_S * 1000)
            ),
            packed(b"STREAMS", self._wake),
            *[log.packed_key for log in live],
            packed(self._woken, *ids),
        )

    async def _ask(self, commands: bytes) -> None:
        try:
            (answer,) = await self._line.ask(commands, 1, within_s=_READ_BLOCK_S + 3)
        except Unavailable as error:
            answer = error
        if isinstance(answer, Exception):
            logger.error("the logs cannot be read: %s", format_traceback(answer))
            await self._recover()
        else:
            self._spread(answer or ())

    def _spread(self, answer: Iterable[tuple[bytes, Sequence[Entry]]]) -> None:
        for key, entries in answer:
            if key == self._wake:
                self._woken = entries[-1][0]
            elif (log := self._logs.get(key)) is not None:
                try:
                    log.take(entries)
                except Unavailable as error:
                    logger.error("a log cannot be read: %s", format_traceback(error))
                    log.breaks(error)
                if entries[-1][1][0] != b"e":
                    log.breaks(NotFound(key))

    async def _recover(self) -> None:
        """Waits for Redis."""
        is_back = False
        while not is_back:
            await asyncio.sleep(_RETRY_DELAY_S)
            with suppress(Unavailable):
                await self._send_away_from_lost(list(self._logs.keys()))
                is_back = True
        logger.warning("the logs are read again")

    async def _send_away_from_lost(self, keys: Sequence[bytes]) -> None:
        """Readers whose logs Redis has no more. Raises Unavailable if it does not say."""
        there = await self._server.ask_all([("EXISTS", key) for key in keys]) if keys else []
        for key, kept in zip(keys, there, strict=True):
            if not kept and (log := self._logs.get(key)) is not None and not log.ended:
                log.breaks(Unavailable("the log is lost"))
