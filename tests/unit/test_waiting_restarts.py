"""A job that waits for a human, over one file, while the process that serves it comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.chat import JobId
from sluice.domain.errors import DeadlineExceeded, Expired
from sluice.domain.events import BEGINNING, Cancelled, Cursor, Done, Failed, Reset, Token
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.unit.test_waiting_jobs import (
    DONE,
    PAUSE,
    PLAYS,
    REST,
    SAID,
    questions,
    told,
    waits,
)
from tests.use_cases import UseCases, use_cases_over


@asynccontextmanager
async def started(
    path: Path, *plays: Any, killed: bool = False, **options: Any
) -> AsyncIterator[UseCases]:
    """One life of a service: it takes up what it finds, and leaves, or is `killed`."""
    database = SqliteDatabase(path)
    await database.open()
    log = SqliteEventLog(database)
    await log.open()
    house = use_cases_over(database, *(plays or PLAYS), log=log, durable=True, **options)
    house.queue.take_up(await log.unfinished())
    yield house
    if not killed:
        await house.queue.drain(grace=0)
        await log.aclose()
        await database.aclose()
        return
    for entry in list(house.queue._entries.values()):
        if entry.task is not None:
            entry.task.cancel()
    await database.aclose()
    await log.aclose()


async def waiting(path: Path, *, killed: bool) -> JobId:
    async with started(path, killed=killed) as house:
        job_id = (await house.ask()).job_id
        await waits(house, job_id)
    return job_id


@pytest.mark.parametrize("killed", [False, True])
async def test_it_waits_on_after_a_restart_and_is_the_same_attempt(
    tmp_path: Path, *, killed: bool
) -> None:
    job_id = await waiting(tmp_path / "a.db", killed=killed)
    for _ in range(2):
        async with started(tmp_path / "a.db", killed=killed) as house:
            await waits(house, job_id)
            assert questions(await told(house, job_id)) == ["send"]
            assert (await house.show_job("ann", job_id)).status == "waiting"
            assert house.pipeline.asked == []
    async with started(tmp_path / "a.db") as house:
        await house.answer("ann", job_id, "send", True)
        records = await house.records(job_id)
        assert records[-1].event == DONE
        assert {one.id.attempt for one in records} == {1}
        assert len(house.pipeline.asked) == 1


async def test_a_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    job_id = await waiting(tmp_path / "a.db", killed=True)
    async with started(tmp_path / "a.db") as house:
        await house.answer("ann", job_id, "send", True)
        seen = await house.records(job_id, after=Cursor(1, 4))
        assert [one.event for one in seen] == [*REST, DONE]
        whole = await house.records(job_id, after=BEGINNING)
        assert "".join(one.event.content for one in whole if isinstance(one.event, Token)) == (
            DONE.answer
        )


async def test_an_answer_that_was_taken_just_before_the_kill_counts(tmp_path: Path) -> None:
    job_id = await waiting(tmp_path / "a.db", killed=True)
    async with started(tmp_path / "a.db", killed=True) as house:
        await waits(house, job_id)
        await house.pauses.answer(job_id, "send", True)  # and died before it woke the job
    async with started(tmp_path / "a.db") as house:
        assert (await house.read(job_id))[-1] == DONE
        (asked,) = house.pipeline.asked
        assert asked.resumption is not None
        assert asked.resumption.answers == {"send": True}
        await house.answer("ann", job_id, "send", True)


async def test_killed_while_it_goes_on_it_is_the_next_attempt_with_the_same_answer(
    tmp_path: Path,
) -> None:
    hangs = (*SAID, PAUSE, Token("half ", "ask"), asyncio.Event(), DONE)
    job_id = await waiting(tmp_path / "a.db", killed=True)
    async with started(tmp_path / "a.db", *hangs, killed=True) as house:
        await house.answer("ann", job_id, "send", True)
        async with asyncio.timeout(5):
            while len(await told(house, job_id)) < 4:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    async with started(tmp_path / "a.db") as house:
        records = await house.records(job_id)
        second = [one.event for one in records if one.id.attempt == 2]
        assert second[0] == Reset("new_attempt")
        assert second[2:] == [*SAID, *REST, DONE]
        assert questions(second) == []
        assert house.pipeline.asked[0].resumption is not None


async def test_its_time_runs_out_while_no_process_runs(tmp_path: Path) -> None:
    async with started(tmp_path / "a.db", killed=True, input_timeout=0.2) as house:
        job_id = (await house.ask()).job_id
        await waits(house, job_id)
    await asyncio.sleep(0.25)
    async with started(tmp_path / "a.db") as house:
        with pytest.raises(Expired):
            await house.answer("ann", job_id, "send", True)
        records = await house.records(job_id)
        assert records[-1].event == Failed.of(DeadlineExceeded(), "request")
        assert records[-1].id.attempt == 1
        assert house.pipeline.asked == []


async def test_it_is_cancelled_after_a_restart_with_its_text(tmp_path: Path) -> None:
    job_id = await waiting(tmp_path / "a.db", killed=False)
    async with started(tmp_path / "a.db") as house:
        await house.cancel("ann", job_id)
        assert (await house.read(job_id))[-1] == Cancelled("user")
        view = await house.show_job("ann", job_id)
        assert view.text == SAID[1].content
        said = await house.said(view.job.chat_id)
        assert said[-1] == ("assistant", SAID[1].content, "cancelled")


async def test_a_job_with_a_long_answer_before_it_asks_tells_it_again_whole(
    tmp_path: Path,
) -> None:
    """The store joins tokens; what was told before is told again though, byte for byte."""
    pieces = [Token(f"{n} 무색 ", "ask") for n in range(300)]
    plays = (SAID[0], *pieces, PAUSE, *REST)
    answer = "".join(piece.content for piece in pieces) + "Sent."
    done = Done("A2", answer)
    async with started(tmp_path / "a.db", *plays, done, killed=True) as house:
        job_id = (await house.ask()).job_id
        await waits(house, job_id)
        await house.pauses.answer(job_id, "send", True)
        await house.log.begin(job_id, goes_on=True)  # and died
    async with started(tmp_path / "a.db", *plays, done) as house:
        events = await house.read(job_id)
        last = len(events) - events[::-1].index(Reset("new_attempt"))
        text = "".join(one.content for one in events[last:] if isinstance(one, Token))
        assert text == answer
        assert events[-1] == done
