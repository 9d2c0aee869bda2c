"""What every store of outcomes promises. A new one joins with one fixture parameter."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sluice.application.chat_ports import ChatPort
from sluice.application.outcomes import OutcomesPort
from sluice.domain.chat import Chat, Job
from sluice.domain.outcome import Delivered, JobOutcome
from sluice.domain.rollout import Flag
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.outcomes.postgres import PostgresOutcomes
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.postgres import drop
from tests.doubles import a_job, an_outcome

AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
EVER = datetime(1970, 1, 1, tzinfo=UTC), 0
CONTROL = Flag(5, "control", "control", "one")


@dataclass(frozen=True)
class Stores:
    chats: ChatPort
    outcomes: OutcomesPort

    async def ended(self, job: Job, attempt: int = 1, **fields: Any) -> JobOutcome:
        """Its answer and its outcome are kept."""
        outcome = an_outcome(job, attempts=attempt, **fields)
        await self.chats.keep_answer(job, "so", outcome.status, attempt, outcome)
        return outcome

    async def asked(self, **fields: Any) -> Job:
        job = a_job(**{"flag": CONTROL} | fields)
        await self.chats.open(Chat(job.chat_id, job.user, None, AT))
        await self.chats.add_question(job)
        return job


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield Stores(PostgresChats(shared), PostgresOutcomes(shared))
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    yield Stores(SqliteChats(database), SqliteOutcomes(database))
    await database.aclose()


async def all_of(stores: Stores, rollout: str | None = None) -> list[JobOutcome]:
    rows = await stores.outcomes.page(after=0, limit=1000, rollout=rollout)
    assert [row.number for row in rows] == sorted(row.number for row in rows)
    return [row.outcome for row in rows]


async def test_an_outcome_comes_back_exactly(stores: Stores) -> None:
    plain = await stores.ended(await stores.asked())
    full = await stores.ended(
        await stores.asked(flag=None, path="A2"),
        path="A1",
        share=12.5,
        rollout=None,
        left_out="header",
        first_token_at=AT,
        answered_at=None,
        status="failed",
        error="internal",
        cancelled_by="user",
        tokens=7,
        thrown_away=3,
        input_tokens=2**40,
        output_tokens=5,
        fell_back=True,
        spoiled=True,
        begun_at=AT,
    )
    assert await all_of(stores) == [plain, full]


async def test_a_job_has_one_outcome_the_latest_attempts(stores: Stores) -> None:
    job = await stores.asked()
    await stores.ended(job, 2, tokens=2)
    await stores.ended(job, 1, tokens=1)
    assert [(one.attempts, one.tokens) for one in await all_of(stores)] == [(2, 2)]
    last = await stores.ended(job, 3, tokens=3)
    assert await all_of(stores) == [last]


async def test_of_attempts_that_end_at_once_one_outcome_is_left(stores: Stores) -> None:
    job = await stores.asked()
    await asyncio.gather(*(stores.ended(job, attempt) for attempt in (3, 1, 5, 2, 4)))
    assert [one.attempts for one in await all_of(stores)] == [5]


async def test_what_keeps_no_answer_keeps_no_outcome_either(stores: Stores) -> None:
    """One transaction: a text that cannot be kept takes its outcome back."""
    job = await stores.asked()
    with pytest.raises(UnicodeEncodeError):
        await stores.chats.keep_answer(job, "\ud800", "completed", 1, an_outcome(job))
    assert await all_of(stores) == []


async def test_a_job_in_no_chat_or_in_one_that_is_deleted_has_an_outcome(stores: Stores) -> None:
    gone = await stores.asked()
    await stores.chats.delete(gone.user, gone.chat_id)
    kept = [await stores.ended(gone), await stores.ended(a_job(history=()))]
    assert await all_of(stores) == kept


async def test_a_user_is_a_hash_the_same_for_the_same_and_by_chat_where_chats_are_drawn(
    stores: Stores,
) -> None:
    by_chat = replace(CONTROL, by_chat=True)
    jobs = [
        await stores.asked(),
        await stores.asked(chat_id="other"),
        await stores.asked(user="bob", chat_id="b"),
        await stores.asked(flag=by_chat),
        await stores.asked(flag=by_chat, chat_id="other"),
    ]
    for job in jobs:
        await stores.ended(job)
    users = [row.user for row in await stores.outcomes.page(after=0, limit=9)]
    assert users[0] == users[1]
    assert len(set(users)) == 4
    assert not any(job.user in user for job, user in zip(jobs, users, strict=True))


async def test_the_first_of_a_user_in_a_rollout_is_known_as_that(stores: Stores) -> None:
    chosen = replace(CONTROL, reason="header")
    given = [
        ("ann", chosen), ("ann", CONTROL), ("ann", CONTROL), ("bob", CONTROL),
        ("ann", replace(CONTROL, rollout="two")),
    ]  # fmt: skip
    for user, flag in given:
        job = await stores.asked(user=user, flag=flag)
        await stores.ended(job, left_out="header" if flag.reason == "header" else None)
    rows = await stores.outcomes.page(after=0, limit=9)
    assert [row.first for row in rows] == [False, True, False, True, True]
    first = next(row for row in rows if row.first)
    again = Job(**{**vars_of(await stores.asked(user="ann")), "id": first.outcome.job_id})
    await stores.ended(again, 2)
    rows = await stores.outcomes.page(after=0, limit=9)
    assert [row.first for row in rows] == [False, True, False, True, True]


async def test_of_a_users_jobs_that_end_at_once_one_is_the_first(stores: Stores) -> None:
    jobs = [await stores.asked(chat_id=f"c{number}") for number in range(8)]
    await asyncio.gather(*map(stores.ended, jobs))
    rows = await stores.outcomes.page(after=0, limit=9)
    assert [row.first for row in rows].count(True) == 1


async def test_what_readers_were_handed_is_joined_over_all_of_them(stores: Stores) -> None:
    job, unread = await stores.asked(), await stores.asked(chat_id="other")
    id_ = job.id
    await stores.outcomes.keep_delivered([Delivered(id_, None, None, seen=False)])
    await stores.ended(job)
    await stores.ended(unread)
    late, early = AT + timedelta(seconds=1), AT
    await stores.outcomes.keep_delivered([Delivered(id_, late, 0.5, seen=True)])
    await stores.outcomes.keep_delivered(
        [Delivered(id_, early, 0.25, seen=True), Delivered("unknown", None, None, seen=False)]
    )
    await stores.outcomes.keep_delivered([Delivered(id_, None, None, seen=False)])
    rows = await stores.outcomes.page(after=0, limit=9)
    assert [row.delivered for row in rows] == [Delivered(id_, early, 0.5, seen=True), None]


async def test_outcomes_are_read_by_rollout_page_and_time(stores: Stores) -> None:
    before = await stores.outcomes.clock()
    for rollout in ("one", "two", "one", None, "one"):
        flag = replace(CONTROL, rollout=rollout)
        await stores.ended(await stores.asked(flag=flag))
    after = await stores.outcomes.clock()
    assert [one.rollout for one in await all_of(stores)] == ["one", "two", "one", None, "one"]
    ones = await stores.outcomes.page(after=0, limit=9, rollout="one")
    assert len(ones) == 3
    (middle,) = await stores.outcomes.page(after=ones[0].number, limit=1, rollout="one")
    assert middle == ones[1]
    written = stores.outcomes.written
    assert list(await written("one", EVER, after, 9)) == ones
    assert list(await written("one", EVER, after, 2)) == ones[:2]
    place = ones[1].written_at, ones[1].number
    assert list(await written("one", place, after, 9)) == ones[2:]
    assert list(await written("one", EVER, before - timedelta(seconds=1), 9)) == []
    assert list(await stores.outcomes.newest("one", 2)) == [ones[2], ones[1]]
    (outside,) = await stores.outcomes.newest(None, 9)
    assert outside.outcome.rollout is None


async def test_what_is_old_is_forgotten_with_what_was_delivered(stores: Stores) -> None:
    job = await stores.asked()
    await stores.ended(job)
    await stores.outcomes.keep_delivered([Delivered(job.id, AT, None, seen=True)])
    now = await stores.outcomes.clock()
    await stores.outcomes.forget(now - timedelta(minutes=1))
    assert len(await all_of(stores)) == 1
    await stores.outcomes.forget(now + timedelta(minutes=1))
    assert await all_of(stores) == []
    await stores.ended(job, 2)
    (row,) = await stores.outcomes.page(after=0, limit=9)
    assert row.delivered is None


def vars_of(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__slots__}
