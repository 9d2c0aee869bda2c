"""The file under the stores: who may open it, what a commit promises, what a deletion leaves."""

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sluice.domain.chat import Chat, Job, new_id, now
from sluice.domain.errors import Conflict, Unavailable
from sluice.domain.events import QUEUED, Done, Token
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.file import LOCK_TIMEOUT_SECONDS
from sluice.infrastructure.sqlite.schema import STEPS


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


@contextmanager
def started(program: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
        try:
            yield process
        finally:
            process.kill()


async def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        await SqliteDatabase(path).open()
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


async def test_nothing_is_touched_before_it_is_opened(tmp_path: Path) -> None:
    SqliteDatabase(tmp_path / "a.db")
    assert files(tmp_path) == {}


async def test_missing_folders_are_made_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "share" / "sluice" / "sluice.db"
    database = SqliteDatabase(path)
    await database.open()
    await database.write(lambda db: db.execute("CREATE TABLE t (a)"))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes.keys() == {"sluice.db", "sluice.db-wal", "sluice.db-shm", "sluice.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await database.aclose()


async def test_a_path_that_cannot_be_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    await refused(file / "below.db")
    await refused(tmp_path)
    await refused(Path("/proc/sluice.db"))


async def test_a_file_has_one_process_under_any_of_its_names(tmp_path: Path) -> None:
    path, link = tmp_path / "a.db", tmp_path / "link.db"
    link.symlink_to(path)
    database = SqliteDatabase(path)
    await database.open()
    assert "in use by another process" in await refused(link)
    await database.aclose()


async def test_what_is_not_a_database_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("important notes " * 100)
    assert "not a database" in await refused(path)
    assert path.read_text() == "important notes " * 100


async def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert "another program" in await refused(path)
    assert path.read_bytes() == before


async def test_a_newer_version_is_left_as_it_is(tmp_path: Path, database: SqliteDatabase) -> None:
    await database.write(lambda db: db.execute(f"PRAGMA user_version = {len(STEPS) + 1}"))
    await database.aclose()
    assert "newer" in await refused(tmp_path / "sluice.db")


async def test_an_older_version_is_brought_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: SqliteDatabase
) -> None:
    conversations = SqliteChats(database)
    chat = await conversations.open(Chat("c", "u", "무", now()))
    await database.aclose()
    steps = (*STEPS, ("ALTER TABLE chats ADD COLUMN pinned INTEGER NOT NULL DEFAULT 7",))
    monkeypatch.setattr("sluice.infrastructure.sqlite.file.STEPS", steps)
    await database.open()
    assert await conversations.chat("u", "c") == chat
    pinned = await database.read(lambda db: db.execute("SELECT pinned FROM chats").fetchall())
    assert pinned == [(7,)]


async def test_an_answer_of_the_first_version_is_one_of_a_first_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, job = SqliteDatabase(tmp_path / "old.db"), Job(new_id(), "c", "u", "A2", "why?", "r")
    conversations = SqliteChats(database)
    with monkeypatch.context() as patched:
        patched.setattr("sluice.infrastructure.sqlite.file.STEPS", STEPS[:1])
        await database.open()
        await conversations.open(Chat("c", "u", "t", now()))
        await conversations.add_question(job)
        answer = (
            "INSERT INTO messages VALUES (NULL, 1, 1, 'a', 'assistant', 'so', ?, 'completed', 0)"
        )
        await database.write(lambda db: db.execute(answer, (job.id,)))
        await database.aclose()
    await database.open()
    conversations = SqliteChats(database)
    assert [each.content for each in await conversations.messages("u", "c")] == ["why?", "so"]
    await conversations.keep_answer(job, "", "cancelled", 2)
    await conversations.keep_answer(job, "so", "completed", 1)
    assert [each.content for each in await conversations.messages("u", "c")] == ["why?"]
    await database.aclose()


async def test_a_step_that_fails_leaves_the_older_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: SqliteDatabase
) -> None:
    await database.aclose()
    with monkeypatch.context() as patched:
        steps = (*STEPS, ("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
        patched.setattr("sluice.infrastructure.sqlite.file.STEPS", steps)
        await refused(tmp_path / "sluice.db")
    await database.open()
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'half'"
    assert await database.read(lambda db: db.execute(query).fetchone()) == (0,)


async def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    program = (
        "import asyncio, sys; from sluice.infrastructure.sqlite.database import SqliteDatabase\n"
        "async def main():\n"
        "    await SqliteDatabase(sys.argv[1]).open(); print('open', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())"
    )
    with started(program, path) as first:
        assert first.stdout is not None
        assert await asyncio.to_thread(first.stdout.readline) == b"open\n"
        assert "in use" in await refused(path)
    database = SqliteDatabase(path)
    await database.open()
    assert "in use" in await refused(path)
    await database.aclose()


async def test_an_exit_without_closing_does_not_hang(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from sluice.infrastructure.sqlite.database import SqliteDatabase\n"
        "database = SqliteDatabase(sys.argv[1]); asyncio.run(database.open())"
    )
    with started(program, tmp_path / "a.db") as process:
        assert await asyncio.to_thread(process.wait, 30) == 0


async def test_what_waits_is_committed_together(database: SqliteDatabase) -> None:
    begun: list[str] = []
    await database.write(lambda db: db.set_trace_callback(begun.append))
    await asyncio.gather(
        *(database.write(lambda db: db.execute("SELECT 1"), durable=False) for _ in range(20))
    )
    assert begun.count("SELECT 1") == 20
    assert begun.count("BEGIN IMMEDIATE") < 20


async def test_what_fails_undoes_itself_and_nothing_else(database: SqliteDatabase) -> None:
    def insert(title: str, *, then: Exception | None = None) -> None:
        def work(db: sqlite3.Connection) -> None:
            values = (new_id(), title)
            db.execute(
                "INSERT INTO chats (user, id, title, created_at) VALUES ('u', ?, ?, 0)", values
            )
            if then is not None:
                raise then

        writes.append(database.write(work))

    writes: list[object] = []
    insert("1")
    insert("2", then=Conflict("no"))
    insert("3")
    insert("4", then=sqlite3.IntegrityError("no"))
    insert("lone \ud800 surrogate")
    insert("6")
    results = await asyncio.gather(*writes, return_exceptions=True)  # type: ignore[call-overload]
    kinds = [type(result) for result in results]
    assert kinds == [
        *(type(None), Conflict, type(None), sqlite3.IntegrityError),
        *(UnicodeEncodeError, type(None)),
    ]
    titles = await database.read(lambda db: db.execute("SELECT title FROM chats").fetchall())
    assert sorted(titles) == [("1",), ("3",), ("6",)]


async def test_what_cannot_even_be_undone_is_told_to_all(database: SqliteDatabase) -> None:
    denied = iter([sqlite3.SQLITE_DENY])

    def authorize(action: int, what: str | None, *_: object) -> int:
        undoing = action == sqlite3.SQLITE_TRANSACTION and what == "ROLLBACK"
        return next(denied, sqlite3.SQLITE_OK) if undoing else sqlite3.SQLITE_OK

    def fail(db: sqlite3.Connection) -> None:
        db.set_authorizer(authorize)
        raise Conflict("no")

    good = "CREATE TABLE t (a)"
    held, go_on = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> bool:
        held.set()
        return go_on.wait(5)

    holding = asyncio.create_task(database.write(hold))
    await asyncio.to_thread(held.wait, 5)
    asyncio.get_running_loop().call_later(0.05, go_on.set)  # the others wait together by then
    writes = [database.write(lambda db: db.execute(good)), database.write(fail)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert await holding
    await database.persist(lambda db: db.execute(good))


async def test_a_cancelled_write_is_whole_or_absent(database: SqliteDatabase) -> None:
    conversations = SqliteChats(database)
    opening = asyncio.ensure_future(conversations.open(Chat("c", "u", "t", now())))
    await asyncio.sleep(0)
    opening.cancel()
    assert (await conversations.open(Chat("c", "u", "other", now()))).title == "t"


async def test_a_closed_database_is_unavailable(database: SqliteDatabase) -> None:
    await database.aclose()
    await database.aclose()
    for call in (database.read, database.write, database.persist):
        with pytest.raises(Unavailable):
            await call(lambda db: None)


async def test_one_waits_for_a_lock_and_the_others_are_told_at_once(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    with closing(sqlite3.connect(tmp_path / "sluice.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        for _ in range(20):
            with pytest.raises(Unavailable):
                await database.check()
        waited = time.monotonic() - begun
        assert LOCK_TIMEOUT_SECONDS <= waited < 3 * LOCK_TIMEOUT_SECONDS
        other.execute("COMMIT")
    await database.check()
    assert database._commits.lock_timeout == LOCK_TIMEOUT_SECONDS


async def fill(database: SqliteDatabase) -> None:
    """Makes the disk full, as far as SQLite can tell."""
    pages = await database.read(lambda db: db.execute("PRAGMA page_count").fetchone())
    await database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages[0]}"))


def room(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA max_page_count = 1000000")


async def empty(database: SqliteDatabase) -> None:
    """Again, if it was in one transaction with a write that waits for the room."""
    try:
        await database.write(room)
    except Unavailable:
        await database.write(room)


async def test_a_full_disk_is_unavailable_until_there_is_room(database: SqliteDatabase) -> None:
    conversations = SqliteChats(database)
    await conversations.open(Chat("c", "u", "t", now()))
    await fill(database)
    long = "t" * 100_000
    with pytest.raises(Unavailable):
        await conversations.rename("u", "c", long)
    assert (await conversations.chat("u", "c")).title == "t"
    await empty(database)
    await conversations.rename("u", "c", long)
    await database.check()


async def test_an_outage_is_told_once_though_what_changes_nothing_still_succeeds(
    database: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    conversations = SqliteChats(database)
    await conversations.open(Chat("c", "u", "t", now()))
    await fill(database)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await conversations.rename("u", "c", "t" * 100_000)
        await database.write(lambda db: db.execute("DELETE FROM chats WHERE id = 'none'"))
    await empty(database)
    await database.check()
    told = [record.getMessage().split(".db ")[1] for record in caplog.records]
    assert told == ["cannot be written: database or disk is full", "can be written again"]


async def test_an_answer_outlasts_a_full_disk(database: SqliteDatabase) -> None:
    conversations = SqliteChats(database)
    await conversations.open(Chat("c", "u", "t", now()))
    job = Job(new_id(), "c", "u", "A2", "why?", "r")
    await conversations.add_question(job)
    await fill(database)
    answering = asyncio.create_task(conversations.keep_answer(job, "b" * 100_000, "completed", 1))
    with pytest.raises(Unavailable):
        await conversations.rename("u", "c", "t" * 100_000)
    assert not answering.done()
    await empty(database)
    async with asyncio.timeout(5):
        await answering
    assert len(await conversations.messages("u", "c")) == 2


async def test_nothing_of_a_deleted_chat_is_left_in_the_files(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    conversations, log = SqliteChats(database), SqliteEventLog(database)
    await log.open()
    for number in range(40):
        chat_id = f"{'dead' if number % 2 else 'kept'}-{number}"
        await conversations.open(Chat(chat_id, "u", f"{chat_id} title", now()))
        for size in (5, 700, 3_000, 20_000):
            text, logged = f"{chat_id} says " + "x" * size, f"log of {chat_id}" + "y" * size
            job = Job(new_id(), chat_id, "u", "A2", text, "r")
            await conversations.add_question(job)
            await conversations.keep_answer(job, text + "z" * size, "failed", 1)
            await conversations.keep_answer(job, text, "completed", 1)
            await log.create(replace(job, message=logged, metadata={"m": logged}), QUEUED)
            notifier = await log.begin(job.id)
            notifier.publish(*(Token(logged, "answer") for _ in range(5)))
            await notifier.end(Done("A2", logged))
    for number in range(1, 40, 2):
        await log.delete(f"dead-{number}")
    assert [name for name, content in files(tmp_path).items() if b"log of dead-" in content] == []
    for number in range(1, 40, 2):
        await conversations.delete("u", f"dead-{number}")
    assert [name for name, content in files(tmp_path).items() if b"dead-" in content] == []
    assert b"kept-" in files(tmp_path)["sluice.db"]
    await log.aclose()


async def test_what_others_still_read_is_removed_later(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    conversations = SqliteChats(database)
    await conversations.open(Chat("c", "u", "a canary", now()))
    with closing(sqlite3.connect(tmp_path / "sluice.db", isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT * FROM chats").fetchall()
        await conversations.delete("u", "c")
        assert database.unscrubbed
    await database.scrub_rest()
    assert not database.unscrubbed
    assert not any(b"a canary" in content for content in files(tmp_path).values())


async def test_no_text_reaches_a_debug_log(
    database: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        conversations = SqliteChats(database)
        await conversations.open(Chat("c", "u", "canary", now()))
        job = Job(new_id(), "c", "u", "A2", "canary", "r")
        await conversations.add_question(job)
        await conversations.keep_answer(job, "canary", "completed", 1)
        assert len(await conversations.messages("u", "c")) == 2
        with pytest.raises(UnicodeEncodeError):
            await conversations.rename("u", "c", "canary \ud800")
    assert caplog.records
    assert "canary" not in caplog.text
