"""The policy itself, case by case: who is admitted, who is refused and why, and who is next."""

from typing import Literal

import pytest

from sluice.application.scheduling import (
    Bounds,
    Scheduled,
    State,
    WhenBusy,
    admit,
    next_to_run,
    refused,
)
from sluice.domain.chat import Job
from sluice.domain.errors import Conflict, LimitReached
from tests.doubles import a_job


def jobs_of(*users: str) -> list[Scheduled]:
    """Recorded, each in a chat of its own."""
    return [
        Scheduled(a_job(user=user, chat_id=f"{user}-{n}"), "waiting", recorded=True)
        for n, user in enumerate(users)
    ]


def order(jobs: list[Scheduled], bounds: Bounds) -> list[str]:
    """Whose job runs next, if each runs for longer than that."""
    users = []
    while one := next_to_run(jobs, bounds):
        one.state = "running"
        users.append(one.job.user)
    return users


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds(running=4, user_running=None), ["ann", "bob", "eve", "ann"]),
        (Bounds(running=9, user_running=1), ["ann", "bob", "eve"]),
        (Bounds(running=0), []),
    ],
)
def test_whoever_has_the_fewest_running_is_next_then_who_has_waited_longest(
    bounds: Bounds, expected: list[str]
) -> None:
    assert order(jobs_of("ann", "ann", "ann", "bob", "eve"), bounds) == expected


def test_only_a_chats_first_job_can_be_next_also_while_it_is_recorded() -> None:
    first, second = (Scheduled(a_job(), "waiting", recorded=True) for _ in range(2))
    assert next_to_run([first, second], Bounds()) is first
    first.recorded = False
    assert next_to_run([first, second], Bounds()) is None
    first.state = "ending"
    assert next_to_run([first, second], Bounds()) is None


def known(job: Job, state: State) -> Scheduled:
    return Scheduled(job, state, recorded=True)


ANN, ANNS_OTHER, BOB = (
    a_job(user=user, chat_id=chat) for user, chat in (("ann", "a"), ("ann", "b"), ("bob", "c"))
)


FULL = Bounds(running=1, queued=1, user_running=1, user_queued=1)


@pytest.mark.parametrize(
    ("jobs", "bounds", "when_busy", "expected"),
    [
        ([], Bounds(), "enqueue", "running"),
        ([], Bounds(running=0), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(running=1), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(running=2), "enqueue", "running"),
        ([(BOB, "waiting")], Bounds(running=1), "enqueue", "running"),
        # A user's own running jobs count, and no other's.
        ([(ANNS_OTHER, "running")], Bounds(user_running=1), "enqueue", "waiting"),
        ([(BOB, "running")], Bounds(user_running=1), "enqueue", "running"),
        ([(ANNS_OTHER, "running")] * 9, Bounds(user_running=None), "enqueue", "running"),
        # Whoever is in the chat is waited for, or refused.
        ([(ANN, "running")], Bounds(), "enqueue", "waiting"),
        ([(ANN, "ending")], Bounds(), "interrupt", "waiting"),
        ([(ANN, "waiting")], Bounds(), "reject", "conflict"),
        ([(ANN, "ending")], Bounds(), "reject", "conflict"),
        ([(BOB, "running")], Bounds(), "reject", "running"),
        ([(ANN, "running"), (BOB, "waiting")], FULL, "reject", "conflict"),
        # Those who wait count, of all and of the user, and neither who runs nor who ends.
        ([(BOB, "running"), (BOB, "waiting")], FULL, "enqueue", "busy"),
        ([(BOB, "running"), (BOB, "ending")], FULL, "enqueue", "waiting"),
        ([(BOB, "waiting")], Bounds(running=0, queued=2), "enqueue", "waiting"),
        ([(ANNS_OTHER, "waiting")], Bounds(running=0, user_queued=1), "enqueue", "user"),
        ([(ANNS_OTHER, "waiting")] * 2, Bounds(running=0, user_queued=1), "enqueue", "user"),
        ([(ANNS_OTHER, "waiting")], Bounds(running=0, user_queued=2), "enqueue", "waiting"),
        ([(BOB, "waiting")], Bounds(running=0, user_queued=1), "enqueue", "waiting"),
        ([(ANNS_OTHER, "waiting")] * 9, Bounds(running=0, user_queued=None), "enqueue", "waiting"),
    ],
)
def test_who_is_admitted_or_refused(
    jobs: list[tuple[Job, State]], bounds: Bounds, when_busy: WhenBusy, expected: str
) -> None:
    present = [known(*one) for one in jobs]
    job = a_job(user="ann", chat_id="a")
    if expected in ("waiting", "running"):
        assert admit(present, job, bounds, when_busy) == expected
        return
    with pytest.raises((Conflict, LimitReached)) as refusal:
        admit(present, job, bounds, when_busy)
    error = refusal.value
    told = ("user" if error.per_user else "busy") if isinstance(error, LimitReached) else "conflict"
    assert told == expected


@pytest.mark.parametrize(
    ("why", "text", "per_user"),
    [
        ("busy", "the service is busy", False),
        ("user", "too many questions are waiting", True),
    ],
)
def test_who_is_refused_for_want_of_room_is_told_why_and_to_come_back_in_five_seconds(
    why: Literal["busy", "user"], text: str, per_user: bool
) -> None:
    error = refused(why)
    assert isinstance(error, LimitReached)
    assert (str(error), error.per_user, error.retry_after) == (text, per_user, 5)


def test_who_is_refused_by_a_busy_chat_is_told_why() -> None:
    error = refused("conflict")
    assert isinstance(error, Conflict)
    assert str(error) == "the chat's last question is still being answered"
