"""What became of each job, and what its readers were handed: written down for the rollout."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sluice.application.ports import EventLogPort
from sluice.application.relay import Relay
from sluice.domain.chat import ExecutionPath, Job, JobStatus, now
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import Cancelled, Done, Failed, Terminal, Token
from sluice.domain.outcome import Delivered, JobOutcome, StoredOutcome, left_out_of
from sluice.domain.rollout import Flag

_BEFORE_FLAGS = Flag(100, "static", "env")
"""Of a job that an earlier version recorded: it is in no rollout."""


class OutcomesPort(Protocol):
    """One outcome a job, kept where the chats are: ChatPort writes it. Raises Unavailable."""

    async def keep_delivered(self, delivered: Sequence[Delivered]) -> None:
        """Adds what readers were handed to what is known of that: the earliest first character,
        the longest gap. The job may not be over, nor known yet."""
        ...

    async def page(
        self, *, after: int, limit: int, rollout: str | None = None
    ) -> Sequence[StoredOutcome]:
        """Of one rollout or of all, in the order of their numbers, which are above `after`."""
        ...

    async def written(
        self, rollout: str, after: tuple[datetime, int], until: datetime, limit: int
    ) -> Sequence[StoredOutcome]:
        """Of one rollout, in the order of their writing and their numbers: what is behind `after`,
        and was written at `until` or before."""
        ...

    async def newest(self, rollout: str | None, limit: int) -> Sequence[StoredOutcome]:
        """Of one rollout, or of no rollout; newest first."""
        ...

    async def clock(self) -> datetime:
        """What `written` goes by."""
        ...

    async def forget(self, before: datetime) -> None:
        """Deletes what was written before that."""
        ...

    async def keep_look(self, rollout: str, at: datetime, look: str) -> None:
        """What the guard saw, as JSON: the last look of each minute is kept."""
        ...

    async def looks(self, rollout: str, limit: int) -> Sequence[str]:
        """Newest first."""
        ...


async def outcome_of(
    job: Job,
    relay: Relay,
    end: Terminal,
    *,
    status: JobStatus,
    begun_at: datetime,
    log: EventLogPort,
) -> JobOutcome:
    """How the job went, which is about to end. `log` is read only if there were attempts before."""
    flag = job.flag or _BEFORE_FLAGS
    done = end if isinstance(end, Done) else None
    path: ExecutionPath = "A1" if relay.fallen_back else job.path
    usage = done.usage if done else None
    earlier = await _streamed_before(job, relay.notifier.attempt, log)
    ended_at = now()
    return JobOutcome(
        job_id=job.id,
        arm=job.path,
        path=path,
        share=flag.share,
        reason=flag.reason,
        source=flag.source,
        rollout=flag.rollout,
        left_out=left_out_of(job),
        admitted_at=job.created_at,
        begun_at=begun_at,
        first_token_at=None if relay.waited else relay.first_token_at,
        answered_at=ended_at if done and not relay.waited else None,
        ended_at=ended_at,
        status=status,
        error=end.code if isinstance(end, Failed) else None,
        cancelled_by=end.reason if isinstance(end, Cancelled) else None,
        tokens=relay.tokens if done else 0,
        thrown_away=relay.thrown_away + earlier + (0 if done else relay.tokens),
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        attempts=relay.notifier.attempt,
        fell_back=relay.fallen_back,
        spoiled=bool(earlier or relay.thrown_away)
        or (done is not None and path == "A2" and relay.text != done.answer),
    )


async def _streamed_before(job: Job, attempt: int, log: EventLogPort) -> int:
    """Pieces that earlier attempts have shown. None is known of what cannot be read."""
    if attempt == 1:
        return 0
    try:
        events = (await log.read(job.id)).events
    except (NotFound, Unavailable):
        return 0
    return sum(one.id.attempt < attempt and isinstance(one.event, Token) for one in events)
