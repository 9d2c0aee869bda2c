"""kill -9 of a real process in mid-stream, again and again, over one file."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sluice.domain.events import TERMINAL, Cursor, Recorded, Token
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.interfaces.protocols.native.encoder import frame
from tests.unit import killed_process

ROOT = Path(__file__).parents[2]
Seen = dict[str, dict[Cursor, str]]
"""Each job's frames, by id, as its readers got them."""


def run_until(met: Callable[[Seen], bool], path: Path, seen: Seen) -> int:
    """Runs the process on the file and kills it once `met`; its exit status."""
    command = [sys.executable, "-m", killed_process.__name__, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):
                break  # torn by the kill
            job, attempt, seq, frame = json.loads(line)
            known = seen[job].setdefault(Cursor(attempt, seq), frame)
            assert is_same(known, frame), "an id names two events"
            if met(seen):
                process.kill()
        return process.wait(30)


def is_same(one: str, other: str) -> bool:
    """Equal, or two tokens that end alike: one is joined with what came before it."""
    if one == other:
        return True
    contents = [frame.split('"content":"')[-1].split('"')[0] for frame in (one, other)]
    return contents[0].endswith(contents[1]) or contents[1].endswith(contents[0])


def ended(frames: dict[Cursor, str]) -> list[Cursor]:
    return [cursor for cursor, frame in frames.items() if frame.startswith("event: done")]


@asynccontextmanager
async def reopened(path: Path) -> AsyncIterator[tuple[SqliteEventLog, SqliteChats]]:
    database = SqliteDatabase(path)
    await database.open()
    log = SqliteEventLog(database)
    await log.open()
    yield log, SqliteChats(database)
    await log.aclose()
    await database.aclose()


async def replay(log: SqliteEventLog, job_id: str) -> list[Recorded]:
    """What the log holds; that of an unfinished job up to now."""
    return list((await log.read(job_id)).events)


def assert_gapless(records: list[Recorded]) -> None:
    position = Cursor(1, 0)
    for recorded in records:
        if recorded.id.attempt != position.attempt:
            position = Cursor(recorded.id.attempt, 0)
        if isinstance(recorded.event, Token):
            count = recorded.event.content.count(" ")
            ids = [f"{position.attempt}-{position.seq + n} " for n in range(1, count + 1)]
            assert recorded.event.content == "".join(ids)
            position = Cursor(position.attempt, position.seq + count)
        else:
            position = Cursor(position.attempt, position.seq + 1)
        assert recorded.id == position
    assert not any(isinstance(recorded.event, TERMINAL) for recorded in records[:-1])


async def test_what_a_reader_has_seen_is_true_after_every_kill(tmp_path: Path) -> None:
    path, seen = tmp_path / "sluice.db", defaultdict[str, dict[Cursor, str]](dict)
    rounds: list[Callable[[Seen], bool]] = [
        lambda seen: sum(map(len, seen.values())) > 100,
        lambda seen: sum(bool(ended(frames)) for frames in seen.values()) >= 2,
        lambda seen: sum(bool(ended(frames)) for frames in seen.values()) >= 4,
    ]
    for met in rounds:
        assert await asyncio.to_thread(run_until, met, path, seen) == -9
        async with reopened(path) as (log, conversations):
            unfinished = {job.id for job in await log.unfinished()}
            for job_id, frames in seen.items():
                records = await replay(log, job_id)
                assert_gapless(records)
                last = records[-1]
                assert isinstance(last.event, TERMINAL) == (job_id not in unfinished)
                assert not ended(frames) or frames[last.id] == frame(last).decode()
            assert len(await conversations.messages("ann", "chat")) >= len(seen) == 6
    assert await asyncio.to_thread(run_until, lambda _: False, path, seen) == 0
    async with reopened(path) as (log, conversations):
        assert await log.unfinished() == []
        messages = await conversations.messages("ann", "chat")
        answers = {each.job_id: each.content for each in messages if each.role == "assistant"}
        for job_id, frames in seen.items():
            records = await replay(log, job_id)
            assert_gapless(records)
            assert answers[job_id] == records[-1].event.answer  # type: ignore[union-attr]
            assert records[-1].id.attempt == max(cursor.attempt for cursor in frames)
            assert ended(frames) == [records[-1].id]


async def test_an_attempt_after_a_kill_is_later_than_all_that_was_seen(tmp_path: Path) -> None:
    path, seen = tmp_path / "sluice.db", defaultdict[str, dict[Cursor, str]](dict)
    for kill in range(1, 4):
        enough = sum(map(len, seen.values())) + 30

        def met(seen: Seen, enough: int = enough) -> bool:
            return sum(map(len, seen.values())) > enough

        await asyncio.to_thread(run_until, met, path, seen)
        async with reopened(path) as (log, _):
            for job in await log.unfinished():
                latest = max(cursor.attempt for cursor in seen[job.id])
                assert latest <= 2 * kill - 1
                assert (await log.begin(job.id)).attempt > latest
