"""Who is admitted, and who runs next: the one policy of every queue.

Only the first job of a chat may run; among chats, the user with the fewest running comes first.
Pure functions over what a queue knows of its jobs. The embedded queue calls them; the Redis queue
does the same inside Redis, in `infrastructure/jobs/redis/scheduler.lua`, and is held to them by
`tests/contract/scheduling/`.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeVar

from sluice.domain.chat import ChatId, Job
from sluice.domain.errors import Conflict, LimitReached

WhenBusy = Literal["enqueue", "reject", "interrupt"]
"""What becomes of a message to a chat whose last one is not answered yet."""

State = Literal["waiting", "running", "paused", "ending"]
"""`running` holds a slot, from admission if one is free then. `paused` waits for a human: it keeps
its chat's place, and no bound counts it. `ending` was cancelled while nobody ran it: it waits for
its end to be written, for which no bound counts."""

Refusal = Literal["conflict", "busy", "user"]
"""The chat's last message is still being answered; the service's queue, or the user's, is full."""

_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Bounds:
    """`user_*` of None: users have no bounds of their own."""

    running: int = 64
    queued: int = 1000
    user_running: int | None = 3
    user_queued: int | None = 10


@dataclass(slots=True, eq=False)
class Scheduled:
    """A job from its admission to its end. It may run once it is `recorded`."""

    job: Job
    state: State
    recorded: bool = False


S = TypeVar("S", bound=Scheduled)


def refused(why: Refusal) -> Conflict | LimitReached:
    """What whoever submits the job is told."""
    match why:
        case "conflict":
            return Conflict("the chat's last question is still being answered")
        case "busy":
            return LimitReached("the service is busy", per_user=False, retry_after=_RETRY_AFTER_S)
        case "user":
            told = "too many questions are waiting"
            return LimitReached(told, per_user=True, retry_after=_RETRY_AFTER_S)


def admit(
    jobs: Collection[Scheduled], job: Job, bounds: Bounds, when_busy: WhenBusy
) -> Literal["waiting", "running"]:
    """The state of a new job, behind `jobs` in order of arrival, none of which could run now.

    Raises Conflict if its chat refuses it, and LimitReached if it would have to wait and may not.
    """
    busy = any(one.job.chat_id == job.chat_id for one in jobs)
    if busy and when_busy == "reject":
        raise refused("conflict")
    if not busy and _has_slot(job, _running(jobs), bounds):
        return "running"
    waiting = [one.job.user for one in jobs if one.state == "waiting"]
    if len(waiting) >= bounds.queued:
        raise refused("busy")
    if bounds.user_queued is not None and waiting.count(job.user) >= bounds.user_queued:
        raise refused("user")
    return "waiting"


def next_to_run(jobs: Collection[S], bounds: Bounds) -> S | None:
    """Of the first jobs of all chats, one of the user with the fewest running, then the oldest.

    `jobs` are in order of arrival.
    """
    if not [one for one in jobs if one.state == "waiting" and one.recorded]:
        return None  # which is so whenever a job ends with room for others
    first_of_chat: dict[ChatId, S] = {}
    for one in jobs:
        first_of_chat.setdefault(one.job.chat_id, one)
    running = _running(jobs)
    ready = [
        one
        for one in first_of_chat.values()
        if one.state == "waiting" and one.recorded and _has_slot(one.job, running, bounds)
    ]
    return min(ready, key=lambda one: running[one.job.user], default=None)


def _running(jobs: Collection[Scheduled]) -> Counter[str]:
    """By user."""
    return Counter([one.job.user for one in jobs if one.state == "running"])


def _has_slot(job: Job, running: Counter[str], bounds: Bounds) -> bool:
    mine = bounds.user_running
    return running.total() < bounds.running and (mine is None or running[job.user] < mine)
