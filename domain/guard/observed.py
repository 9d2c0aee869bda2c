"""From how a job went to what the guard counts of it."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush

from sluice.domain.chat import ExecutionPath
from sluice.domain.guard.plan import Plan
from sluice.domain.guard.rules import Recent
from sluice.domain.guard.tally import Metric, Outcome, Tally
from sluice.domain.outcome import JobOutcome, StoredOutcome

_RECENT = timedelta(minutes=5)
_ARMS: tuple[ExecutionPath, ...] = ("A1", "A2")


def observed(row: StoredOutcome, plan: Plan) -> Outcome | None:
    """None for a job that is in no figure."""
    outcome = row.outcome
    if outcome.left_out is not None:
        return None
    bad, slow = bad_events(row, plan.late), _slow(row, plan.slow)
    return Outcome(row.user, outcome.arm, outcome.share, bad, slow)


def _slow(row: StoredOutcome, limit: float | None) -> bool | None:
    """`limit` is in seconds. None where it is not watched, nobody read, or a human was waited for:
    a gateway that a reader came to behind the question does not know of that."""
    outcome, delivered = row.outcome, row.delivered
    waited = outcome.status == "completed" and outcome.answered_at is None
    if limit is None or waited or delivered is None or delivered.first_at is None:
        return None
    return (delivered.first_at - outcome.admitted_at).total_seconds() > limit


def bad_events(row: StoredOutcome, late: float | None) -> frozenset[Metric]:
    """`late` is the seconds within which a whole answer has to come; None watches none."""
    outcome, delivered, bad = row.outcome, row.delivered, set[Metric]()
    if outcome.status == "failed":
        bad.add("failed")
    answered = outcome.answered_at
    if late is not None and answered and (answered - outcome.admitted_at).total_seconds() > late:
        bad.add("late")
    if delivered is not None and not delivered.seen:
        bad.add("left")
    if outcome.spoiled or outcome.fell_back:
        bad.add("spoiled")
    return frozenset(bad)


@dataclass(slots=True, eq=False)
class Observation:
    """A rollout as far as it has been read; every job counts once, whoever wrote it twice."""

    plan: Plan
    jobs: Counter[ExecutionPath] = field(default_factory=Counter)
    tally: Tally = field(init=False)
    _counted: set[str] = field(default_factory=set)
    _ended: deque[tuple[datetime, ExecutionPath, bool]] = field(default_factory=deque)
    _users: dict[tuple[float, str], tuple[ExecutionPath, datetime]] = field(default_factory=dict)
    """Of each share and user the arm, and when the last job was admitted."""
    _undrawn: list[tuple[datetime, str, Outcome]] = field(default_factory=list)
    """A heap of new users' first jobs, by when they were admitted."""
    _longest: timedelta = timedelta()
    """What a job took from its admission, five minutes at most."""

    def __post_init__(self) -> None:
        self.tally = Tally(self.plan.slow_part)

    def add(self, row: StoredOutcome) -> bool:
        """In the order of writing. False for what is counted already, or is in no figure."""
        outcome = row.outcome
        seen = observed(row, self.plan)
        if seen is None or outcome.job_id in self._counted:
            return False
        self._counted.add(outcome.job_id)
        if self.tally.add(seen):
            heappush(self._undrawn, (outcome.admitted_at, outcome.job_id, seen))
        self.jobs[seen.arm] += 1
        self._draw(outcome)
        self._ended.append((outcome.ended_at, seen.arm, "failed" in seen.bad))
        self._users[seen.share, seen.user] = seen.arm, outcome.admitted_at
        return True

    def _draw(self, latest: JobOutcome) -> None:
        """New users count for the split when whatever was admitted with them is over, on both
        arms: else an A2 that fails at once would have too many users while A1 still answers."""
        took = latest.ended_at - latest.admitted_at
        self._longest = max(self._longest, min(took, _RECENT))
        over = latest.ended_at - (self._longest if len(self.jobs) == len(_ARMS) else _RECENT)
        while self._undrawn and self._undrawn[0][0] <= over:
            self.tally.draw(heappop(self._undrawn)[-1])

    def users(self, share: float, since: datetime) -> Mapping[ExecutionPath, int]:
        """How many have had a job since then under that share."""
        there = [
            arm for (at, _), (arm, seen) in self._users.items() if at == share and seen >= since
        ]
        return Counter(there)

    def recent(self, now: datetime) -> Mapping[ExecutionPath, Recent]:
        ended = self._ended
        while ended and ended[0][0] < now - _RECENT:
            ended.popleft()
        return {
            arm: Recent(
                sum(one == arm for _, one, _ in ended),
                sum(one == arm and failed for _, one, failed in ended),
            )
            for arm in _ARMS
        }
