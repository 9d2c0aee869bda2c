"""What the stores that run their jobs in this process share: readers read its memory."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime

from sluice.application.coalescing import Lengths
from sluice.application.codec import require_encodable
from sluice.application.encoding import Batch, Encoder, Handed, Push
from sluice.application.ports import JobLog
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Finished, Superseded, Unavailable
from sluice.domain.events import Cursor, Event, Recorded, Token
from sluice.infrastructure.event_log.buffer import Buffer

_new = tuple.__new__
"""A named tuple's own `__new__` costs a call in Python, and there are two for each token."""


class Log(Buffer):
    """A job's buffer, and its `writer`: the one attempt that may write to it, if there is one.

    `ending`: its terminal event is on its way in. `paused`: its last attempt may go on.
    """

    __slots__ = ("__weakref__", "attempt", "ended_at", "ending", "job", "paused", "writer")

    def __init__(
        self,
        job: Job,
        records: Iterable[Recorded],
        joined: Mapping[int, Lengths] | None = None,
        *,
        attempt: int = 0,
        paused: bool = False,
        ended_at: datetime | None = None,
    ) -> None:
        super().__init__(records, joined or {})
        self.job, self.attempt, self.ended_at = job, attempt, ended_at
        self.ending, self.paused = ended_at is not None, paused
        self.writer: Attempt | None = None

    def require_open(self, after: int | None) -> None:
        """As EventLogPort.begin has it."""
        if self.ending:
            raise Finished
        if after not in (None, self.attempt):
            raise Superseded

    def begin(self, *, goes_on: bool) -> "Attempt":
        """The next attempt, or the one that has paused."""
        if not goes_on:
            self.attempt += 1
        self.paused = False
        self.writer = Attempt(self)
        return self.writer

    write = Buffer.append
    """Shows records to the readers."""

    write_piece = Buffer.append_piece

    async def flush(self) -> None:
        """What was written is durable on return."""

    async def pause(self, records: Sequence[Recorded]) -> None:
        """Records that are durable before any reader sees them."""
        self.append(records)

    async def end(self, records: Sequence[Recorded]) -> None:
        """The last records, durable before any reader sees them."""
        raise NotImplementedError


class Attempt:
    """The NotifierPort: numbers the events of one attempt until it is fenced off."""

    def __init__(self, log: Log) -> None:
        self._log, self.attempt = log, log.attempt
        self._seq = log.last.seq if log.last.attempt == self.attempt else 0

    def publish(self, *events: Event) -> None:
        log = self._log
        if len(events) == 1 and log.writer is self and not log.ending:  # nearly always a token
            event = events[0]
            if type(event) is not Token or not (event.content.isascii() and event.node.isascii()):
                require_encodable(event)
            self._seq = seq = self._seq + 1
            recorded = _new(Recorded, (_new(Cursor, (self.attempt, seq)), event))
            if type(event) is Token:
                log.write_piece(recorded)
            else:
                log.write((recorded,))
        else:
            log.write(self._numbered(events))

    async def flush(self) -> None:
        if self._log.writer is not self:
            raise Superseded
        await self._log.flush()

    async def pause(self, *events: Event) -> None:
        records = self._numbered(events)
        self._log.writer, self._log.paused = None, True
        await self._log.pause(records)

    async def end(self, *events: Event) -> None:
        records = self._numbered(events)
        # Without a writer, which knows its log: the two would keep each other in memory.
        self._log.ending, self._log.writer = True, None
        await self._log.end(records)

    def _numbered(self, events: Sequence[Event]) -> Sequence[Recorded]:
        log = self._log
        if log.writer is not self or log.ending:
            raise Superseded
        seq = self._seq
        records: list[Recorded] = []  # `list[Recorded]()` would cost more than all of the loop
        for event in events:
            seq += 1
            require_encodable(event)
            records.append(_new(Recorded, (_new(Cursor, (self.attempt, seq)), event)))
        self._seq = seq  # all of them can be told, or it has raised
        return records


class LogReader:
    """The reading half of an EventLogPort over `_find`."""

    def __init__(self) -> None:
        self._leaving = False

    async def open(self) -> None:
        """Nothing to open in memory."""

    async def aclose(self) -> None:
        """Nothing to close in memory."""

    async def check(self) -> None:
        """Memory can always be written."""

    async def settle(self, job_id: JobId) -> None:
        """Memory is as durable as it can be."""

    async def _find(self, job_id: JobId) -> Log:
        raise NotImplementedError

    def _present(self) -> Iterable[Log]:
        """Every log that may have a reader."""
        raise NotImplementedError

    async def job(self, job_id: JobId) -> Job:
        return (await self._find(job_id)).job

    async def attempts(self, job_id: JobId) -> int:
        return (await self._find(job_id)).attempt

    async def is_paused(self, job_id: JobId) -> bool:
        return (await self._find(job_id)).paused

    async def read(self, job_id: JobId) -> JobLog:
        log = await self._find(job_id)
        return JobLog(log.job, log.records, log.ended_at)

    async def follow(
        self, job_id: JobId, *, after: Cursor | None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        return (await self._followed(job_id)).follow(after)

    async def follow_encoded(
        self,
        job_id: JobId,
        *,
        after: Cursor | None,
        encoder: Encoder,
        push: Push | None = None,
        handed: Handed | None = None,
        skip: int = 0,
    ) -> AsyncGenerator[Batch, None]:
        return (await self._followed(job_id)).follow_encoded(after, encoder, skip, push, handed)

    async def _followed(self, job_id: JobId) -> Log:
        if self._leaving:
            raise Unavailable("the service is shutting down")
        return await self._find(job_id)

    def hang_up(self) -> None:
        self._leaving = True
        for log in list(self._present()):
            log.breaks(Unavailable("the service is shutting down"))
