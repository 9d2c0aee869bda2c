"""What one SQLite file saves a job: its chat and its log begin together, and end together."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import QUEUED, Done, Reset, Token
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.joint_writes import JointWrites
from tests.doubles import a_job, publish
from tests.use_cases import ONE_AND_ONE, UseCases, use_cases_over, waiting

ANSWER = (Token("so", "answer"), Done("A2", "so"))


class Disk:
    """Syncs by counting. While it is `held`, nothing reaches it; what is `broken` raises."""

    def __init__(self) -> None:
        self.syncs = 0
        self.broken = False
        self._goes_on = threading.Event()
        self._goes_on.set()

    def sync(self, _: int) -> None:
        assert self._goes_on.wait(5)
        if self.broken:
            raise OSError(5, "Input/output error")
        self.syncs += 1

    def hold(self) -> None:
        self._goes_on.clear()

    def release(self) -> None:
        self._goes_on.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr("sluice.infrastructure.sqlite.group_commit.sync", disk.sync)
    yield disk
    disk.release()


@asynccontextmanager
async def a_house(path: Path, *plays: Any, **options: Any) -> AsyncIterator[UseCases]:
    """Over a file. Whatever still runs at the end is left as it is, as by a kill."""
    database, joint = SqliteDatabase(path / "sluice.db"), JointWrites()
    await database.open()
    log = SqliteEventLog(database, joint=joint)
    house = use_cases_over(database, *plays, log=log, joint=joint, durable=True, **options)
    await log.open()
    await asyncio.sleep(0)  # its first sweep is no commit of what follows
    try:
        yield house
    finally:
        await house.queue.drain(grace=0)
        await log.aclose()
        await database.aclose()


async def commits_of(database: SqliteDatabase, into: list[str]) -> None:
    def traced(statement: str) -> None:
        if statement == "COMMIT":
            into.append(statement)

    await database.write(lambda db: db.set_trace_callback(traced))
    into.clear()


async def answered(house: UseCases, job_id: str) -> list[Any]:
    async with asyncio.timeout(5):
        return await house.read(job_id)


async def test_an_answer_takes_two_commits_and_two_syncs(tmp_path: Path, disk: Disk) -> None:
    commits: list[str] = []
    async with a_house(tmp_path, said := waiting(), *ANSWER) as house:
        chat = await house.a_chat()
        await commits_of(house.database, commits)
        disk.syncs = 0
        accepted = await house.ask(chat_id=chat.id)
        assert (len(commits), disk.syncs) == (1, 1)
        said.set()
        assert await answered(house, accepted.job_id) == [QUEUED, *ANSWER]
        assert (len(commits), disk.syncs) == (2, 2)
        assert [text for _, text, _ in await house.said()] == ["Why?", "so"]


async def test_a_chat_without_a_title_needs_no_sync_and_is_there(
    tmp_path: Path, disk: Disk
) -> None:
    async with a_house(tmp_path) as house:
        disk.syncs = 0
        await house.a_chat("empty")
        assert disk.syncs == 0
        await house.database.aclose()
        await house.database.open()
        assert (await house.chats.chat("ann", "empty")).id == "empty"


async def test_a_session_opens_its_chat_in_the_same_commit(tmp_path: Path, disk: Disk) -> None:
    commits: list[str] = []
    async with a_house(tmp_path, waiting()) as house:
        await commits_of(house.database, commits)
        accepted = await house.ask("Why?")
        assert len(commits) == 1
        assert (await house.chats.chat("ann", accepted.chat_id)).title == "Why?"


async def test_a_quick_disk_is_waited_for_before_the_job_keeps_the_loop_busy(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.infrastructure.sqlite.database._LATE_SECONDS", 60)
    monkeypatch.setattr("sluice.infrastructure.sqlite.database._QUICK_SECONDS", 60)
    async with a_house(tmp_path, *ANSWER) as house:
        await house.a_chat()
        disk.hold()
        asking = asyncio.create_task(house.ask(chat_id="chat"))
        async with asyncio.timeout(5):
            while not await house.unfinished():  # noqa: ASYNC110 - only the file can tell
                await asyncio.sleep(0.001)
        await asyncio.wait([asking], timeout=0.2)
        assert not house.pipeline.asked
        disk.release()
        accepted = await asking
        assert (await answered(house, accepted.job_id))[-1] == ANSWER[-1]


async def test_a_disk_that_was_slow_is_not_waited_for_before_the_job_begins(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.infrastructure.sqlite.database._LATE_SECONDS", 60)
    monkeypatch.setattr("sluice.infrastructure.sqlite.database._QUICK_SECONDS", 0)
    async with a_house(tmp_path, *ANSWER) as house:
        await house.a_chat()
        disk.hold()
        asking = asyncio.create_task(house.ask(chat_id="chat"))
        async with asyncio.timeout(4):
            while not house.pipeline.asked:  # noqa: ASYNC110 - only the pipeline can tell
                await asyncio.sleep(0.001)
        assert not asking.done()
        disk.release()
        accepted = await asking
        assert (await answered(house, accepted.job_id))[-1] == ANSWER[-1]


async def test_a_job_runs_while_the_disk_is_waited_for_and_is_told_of_afterwards(
    tmp_path: Path, disk: Disk
) -> None:
    async with a_house(tmp_path, *ANSWER) as house:
        await house.a_chat()
        disk.hold()
        asking = asyncio.create_task(house.ask(chat_id="chat"))
        async with asyncio.timeout(5):
            while not house.pipeline.asked:  # noqa: ASYNC110 - only the pipeline can tell
                await asyncio.sleep(0.001)
        (job_id,) = await house.unfinished()  # so does another tab, which may ask for it
        following = asyncio.create_task(house.log.follow(job_id, after=None))
        looking = asyncio.create_task(house.show_job("ann", job_id))
        done, _ = await asyncio.wait([asking, following, looking], timeout=0.2)
        disk.release()
        assert done == set()
        assert (await asking).job_id == job_id
        assert [one async for batch in await following for one in batch][-1].event == ANSWER[-1]
        await looking


async def test_an_attempt_that_began_with_its_job_is_not_begun_again(tmp_path: Path) -> None:
    """Its readers have seen its ids, whatever the kill took from the log."""
    async with a_house(tmp_path, Token("a", "answer"), waiting()) as house:
        accepted = await house.ask()
        assert await SqliteEventLog(house.database).attempts(accepted.job_id) == 1
    async with a_house(tmp_path, *ANSWER) as house:
        (job,) = await house.log.unfinished()
        house.queue.take_up([job])
        said = await answered(house, job.id)
        assert said[-4:] == [Reset("new_attempt"), QUEUED, *ANSWER]
        assert [one.id.attempt for one in await house.records(job.id)][-4:] == [2] * 4


async def test_a_job_that_never_began_has_all_its_attempts_left(tmp_path: Path) -> None:
    async with a_house(tmp_path, waiting(), bounds=ONE_AND_ONE) as house:
        await house.ask()
        queued = await house.ask()
    async with a_house(tmp_path, *ANSWER) as house:
        assert await house.log.attempts(queued.job_id) == 0
        house.queue.take_up([await house.log.job(queued.job_id)])
        assert await answered(house, queued.job_id) == [QUEUED, *ANSWER]


async def test_a_question_in_a_chat_that_is_gone_leaves_no_log(tmp_path: Path) -> None:
    async with a_house(tmp_path, *ANSWER) as house:
        job = a_job(chat_id="gone")
        await house.chats.add_question(job)
        with pytest.raises(NotFound):
            await house.log.create(job, QUEUED, begins=True)
        assert await house.unfinished() == []


async def test_an_answer_that_cannot_be_kept_ends_no_job_and_holds_no_other_up(
    tmp_path: Path,
) -> None:
    async with a_house(tmp_path) as house:
        bad, good = await house.a_log(), await house.a_log(job=a_job(id="good"))
        ends = []
        for job, answer in ((bad, "a lone \ud800"), (good, "so")):
            notifier = await house.log.begin(job.id)
            await house.chats.keep_answer(job, answer, "completed", 1)
            ends.append(notifier.end(ANSWER[-1]))
        told = await asyncio.gather(*ends, return_exceptions=True)
        assert [type(each) for each in told] == [UnicodeEncodeError, type(None)]
        assert await house.unfinished() == [bad.id]
        assert [text for _, text, _ in await house.said()].count("so") == 1


async def test_an_answer_whose_end_comes_too_late_is_kept_with_the_next_one(
    tmp_path: Path,
) -> None:
    async with a_house(tmp_path) as house:
        job = await house.a_log()
        first = await house.log.begin(job.id)
        second = await house.log.begin(job.id)
        await house.chats.keep_answer(job, "late", "completed", first.attempt)
        with pytest.raises(Superseded):
            await first.end(Done("A2", "late"))
        await house.chats.keep_answer(job, "so", "completed", second.attempt)
        await second.end(ANSWER[-1])
        assert [text for _, text, _ in await house.said()] == ["Why?", "so"]


async def test_an_answer_of_a_job_that_ends_elsewhere_is_kept_by_itself(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        job = await house.a_log()
        await house.chats.keep_answer(job, "so", "completed", 1)
        assert [text for _, text, _ in await house.said()] == ["Why?", "so"]


async def test_what_the_disk_refused_is_written_elsewhere_or_not_told_of(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes what it could not write for written: a second sync would say nothing."""
    kept = [False, False, True]
    monkeypatch.setattr(
        "sluice.infrastructure.sqlite.group_commit.truncate_wal", lambda _: kept.pop(0)
    )
    async with a_house(tmp_path, waiting()) as house:
        await house.a_chat()
        disk.broken = True
        with pytest.raises(Unavailable):
            await house.ask(chat_id="chat")
        (job_id,) = await house.unfinished()  # it runs all the same
        disk.broken, disk.syncs = False, 0
        assert [one.event for one in (await house.log.read(job_id)).events] == [QUEUED]
        assert (kept, disk.syncs) == ([], 0)
        await publish(await house.log.begin(job_id), Token("a", "answer"))
        assert disk.syncs == 1
