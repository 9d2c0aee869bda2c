"""A list of jobs that asks `application.scheduling`: what a queue must do, step by step."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice

from hypothesis import strategies as st

from sluice.application.scheduling import (
    Bounds,
    Scheduled,
    WhenBusy,
    admit,
    next_to_run,
)
from sluice.domain.chat import Job
from sluice.domain.errors import Conflict, LimitReached
from sluice.infrastructure.jobs.redis.scheduler import Claimed
from tests.doubles import a_job

A_DAY = timedelta(days=1)


LEASE_S = 6


LAPSE_S = LEASE_S + 1


UNRECORDED = 5
"""So many lapses are more than the 30 s in which a job has to be recorded."""


Step = tuple[str, int]
"""An operation, and which of the things that it can be done to."""


def steps(*operations: str) -> st.SearchStrategy[list[Step]]:
    """Enough of them for a queue to fill up."""
    operation = st.tuples(st.sampled_from(operations), st.integers(0, 11))
    return st.lists(operation, min_size=40, max_size=80)


BOUNDS = st.builds(
    Bounds,
    running=st.integers(0, 4),
    queued=st.integers(0, 6),
    user_running=st.sampled_from([None, 1, 2]),
    user_queued=st.sampled_from([None, 0, 1, 2]),
)


WHEN_BUSY: st.SearchStrategy[WhenBusy] = st.sampled_from(["enqueue", "reject", "interrupt"])


@dataclass(eq=False, slots=True)
class Known(Scheduled):
    """What a queue knows of a job beside what the policy asks."""

    reason: str | None = None
    claim: str | None = None
    returns: int = 0
    lapses: int = 0
    woken: bool = False


@dataclass
class Model:
    bounds: Bounds
    when_busy: WhenBusy
    jobs: list[Known] = field(default_factory=list)

    def fill_slots(self) -> None:
        while one := next_to_run(self.jobs, self.bounds):
            one.state = "running"

    def admit(self, job: Job) -> str:
        self.fill_slots()
        try:
            state = admit(self.jobs, job, self.bounds, self.when_busy)
        except Conflict:
            return "conflict"
        except LimitReached as busy:
            return "user" if busy.per_user else "busy"
        for other in [one for one in self.jobs if one.job.chat_id == job.chat_id]:
            if self.when_busy == "interrupt":
                self.cancel(other, "user")
        self.jobs.append(Known(job, state))
        return "taken"

    def record(self, one: Known) -> None:
        one.recorded = True
        self.end_if_cancelled(one)

    def cancel(self, one: Known, reason: str) -> None:
        one.reason = one.reason or reason
        self.end_if_cancelled(one)

    def end_if_cancelled(self, one: Known) -> None:
        if one.reason and one.recorded and one.claim is None:
            one.state = "ending"

    def claim(self, claim: str, slots: int, ends: int) -> list[Claimed]:
        self.fill_slots()
        free = [one for one in self.jobs if one.recorded and one.claim is None]
        due = (one for one in free if one.state == "running")
        ending = (one for one in free if one.state == "ending")
        claimed = [*islice(due, slots), *islice(ending, ends)]
        for one in claimed:
            one.claim = claim
        return [Claimed(one.job.id, one.reason, one.returns) for one in claimed]  # type: ignore[arg-type]

    def release(self, one: Known, *, returned: bool) -> None:
        one.claim = None
        one.returns += returned
        self.end_if_cancelled(one)

    def pause(self, one: Known) -> None:
        one.claim, one.state = None, "paused"
        if one.reason:
            one.state = "ending"
        elif one.woken:
            self.wake(one)

    def wake(self, one: Known) -> None:
        one.woken = one.state != "paused"
        if not one.woken:
            one.state = "waiting"

    def lapse(self) -> None:
        for one in self.jobs:
            one.lapses += 1
            if one.claim is not None:
                self.release(one, returned=False)
            if not one.recorded and one.lapses == UNRECORDED:
                self.abandon(one)

    def abandon(self, one: Known) -> None:
        one.reason = one.reason or "shutdown"
        self.record(one)

    def count(self, state: str) -> int:
        return sum(one.state == state for one in self.jobs)


def asked(number: int, which: int) -> Job:
    """A user with two chats, or one of two others."""
    user = f"user-{which % 3}"
    return a_job(id=f"job-{number}", user=user, chat_id=f"{user}-{which % 2}")
