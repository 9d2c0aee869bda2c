"""A rollout before a test: its changes in memory, and outcomes that a test writes itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.domain.errors import Unavailable
from sluice.domain.outcome import StoredOutcome
from sluice.domain.share_change import ShareChange
from tests.doubles import a_job, an_outcome

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass
class Changes:
    """A ShareChangesPort; `overtaken`: somebody is always faster."""

    kept: list[ShareChange] = field(default_factory=list)
    away: bool = False
    overtaken: bool = False
    limits: list[int] = field(default_factory=list)

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        if self.away:
            raise Unavailable("away")
        self.limits.append(limit)
        return self.kept[::-1][:limit]

    async def append(self, change: ShareChange) -> bool:
        if self.overtaken or change.number != len(self.kept) + 1:
            return False
        self.kept.append(change)
        return True


@dataclass
class Outcomes:
    """The part of an OutcomesPort that a rollout asks."""

    rows: list[StoredOutcome] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    seen: list[tuple[str, datetime, str]] = field(default_factory=list)
    at: datetime = AT

    async def newest(self, rollout: str | None, limit: int) -> Sequence[StoredOutcome]:
        self.asked.append((rollout, limit))
        found = [row for row in self.rows if row.outcome.rollout == rollout]
        return found[::-1][:limit]

    async def written(
        self, rollout: str, after: tuple[datetime, int], until: datetime, limit: int
    ) -> Sequence[StoredOutcome]:
        self.asked.append((rollout, after, until, limit))
        return [
            row
            for row in self.rows
            if row.outcome.rollout == rollout
            and (row.written_at, row.number) > after
            and row.written_at <= until
        ][:limit]

    async def clock(self) -> datetime:
        return self.at

    async def keep_look(self, rollout: str, at: datetime, look: str) -> None:
        self.seen.append((rollout, at, look))

    async def looks(self, rollout: str, limit: int) -> Sequence[str]:
        return [look for of, _, look in self.seen[::-1] if of == rollout][:limit]

    def write(
        self,
        *,
        arm: str = "A1",
        user: str | None = None,
        share: float = 50,
        rollout: str | None = "r",
        took: float = 1,
        **fields: Any,
    ) -> StoredOutcome:
        """Of a job that was answered so many seconds after it was admitted, unless a field says
        when; its user asks for the first time."""
        number = len(self.rows) + 1
        job = a_job(id=f"job-{number}", path=arm, created_at=AT - timedelta(minutes=1))
        done = job.created_at + timedelta(seconds=took)
        given = {"share": share, "rollout": rollout, "answered_at": done, "ended_at": done}
        outcome = an_outcome(job, **given | fields)
        written_at = self.at - timedelta(seconds=3) + timedelta(milliseconds=number)
        name = user or f"user-{number}"
        self.rows.append(StoredOutcome(number, written_at, name, True, outcome, None))
        return self.rows[-1]


class Announced:
    """Counts how often the others were told, and fails at it if it is to."""

    def __init__(self, *, away: bool = False) -> None:
        self.times, self.away = 0, away

    async def __call__(self) -> None:
        self.times += 1
        if self.away:
            raise Unavailable("away")
