"""What is written in one transaction, who is told when, and what the disk is asked for."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluice.infrastructure.sqlite import group_commit
from sluice.infrastructure.sqlite.group_commit import GroupCommit, Write, is_outage

SET = "PRAGMA busy_timeout = 2000"
AT_ONCE = "PRAGMA busy_timeout = 0"
BEGIN, COMMIT, ROLLBACK = "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)"
Work = Callable[[sqlite3.Connection], Any]


class Disk:
    """Notes what is asked of it, between the statements; fails as it is told to."""

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened
        self.files: list[int] = []
        self.failures: list[OSError] = []
        self.truncations: list[bool | sqlite3.Error] = []
        self.look: Callable[[], object] = list

    def sync(self, file: int) -> None:
        self.happened.append("SYNC")
        self.files.append(file)
        self.look()
        if self.failures:
            raise self.failures.pop(0)

    def truncate(self, db: sqlite3.Connection) -> bool:
        db.execute(TRUNCATE)
        done = self.truncations.pop(0)
        if isinstance(done, sqlite3.Error):
            raise done
        return done


class Writer:
    """The connection's thread, which does what is posted only when it is told to."""

    def __init__(self, db: sqlite3.Connection, happened: list[str]) -> None:
        self.db, self.happened = db, happened
        self.posted: list[Callable[[sqlite3.Connection], None]] = []

    def post(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self.posted.append(work)

    def tell(self, told: Callable[..., object], *arguments: Any) -> None:
        self.happened.append("TELL")
        told(*arguments)

    def run(self) -> None:
        self.posted.pop(0)(self.db)


class Group:
    """Writes to a database in memory, and a WAL of its own."""

    def __init__(self, db: sqlite3.Connection, path: Path, disk: Disk) -> None:
        self.db, self.disk, self.happened = db, disk, disk.happened
        self.writer: Any = Writer(db, disk.happened)
        self.commits = GroupCommit()
        self.path = path
        db.set_trace_callback(self.happened.append)

    def post(self, work: Work | str, *, durable: bool = False) -> Write[Any]:
        return self.again(Write(saying(work) if isinstance(work, str) else work, durable=durable))

    def again(self, write: Write[Any]) -> Write[Any]:
        self.commits.post(self.writer, write)
        return write

    def run(self) -> list[str]:
        self.writer.run()
        return self.since()

    def since(self) -> list[str]:
        said = self.happened.copy()
        self.happened.clear()
        return said


def saying(statement: str) -> Work:
    return lambda db: db.execute(statement).fetchone()


def failing(error: BaseException, calls: list[None] | None = None) -> Work:
    def work(_: sqlite3.Connection) -> None:
        if calls is not None:
            calls.append(None)
        raise error

    return work


FULL = sqlite3.OperationalError("database or disk is full")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk([])
    monkeypatch.setattr(group_commit, "sync", disk.sync)
    monkeypatch.setattr(group_commit, "truncate_wal", disk.truncate)
    return disk


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield db


@pytest.fixture
async def group(tmp_path: Path, disk: Disk, db: sqlite3.Connection) -> AsyncIterator[Group]:
    (tmp_path / "a.db-wal").touch()
    group = Group(db, tmp_path / "a.db", disk)
    group.commits.open(group.path)
    yield group
    group.commits.close()


def told(*writes: Write[Any]) -> list[bool]:
    return [write.told.done() for write in writes]


async def test_what_waits_is_one_transaction_and_is_told_its_own_result(group: Group) -> None:
    writes = [group.post(f"SELECT {number}") for number in range(3)]
    assert len(group.writer.posted) == 1
    selects = [f"SELECT {number}" for number in range(3)]
    assert group.run() == [SET, BEGIN, *selects, COMMIT, "TELL"]
    assert [(write.result, write.error) for write in writes] == [
        ((number,), None) for number in range(3)
    ]
    assert told(*writes) == [True] * 3
    last = group.post("SELECT 3")
    assert group.run() == [BEGIN, "SELECT 3", COMMIT, "TELL"]
    assert (last.result, last.is_committed) == ((3,), True)


async def test_each_write_counts_the_rows_that_it_has_changed_itself(group: Group) -> None:
    group.db.execute("CREATE TABLE t (x)")
    statements = ("INSERT INTO t VALUES (1), (2)", "DELETE FROM t WHERE x = 3", "DELETE FROM t")
    writes = [group.post(statement) for statement in statements]
    failing_one = group.post(failing(ValueError()))
    assert failing_one.changes == 0
    group.run()
    assert [write.changes for write in (*writes, failing_one)] == [2, 0, 2, 0]


async def test_what_comes_while_a_group_is_written_is_in_the_next(group: Group) -> None:
    late: list[Write[Any]] = []
    group.post(lambda _: late.append(group.post("SELECT 1")))
    assert group.run() == [SET, BEGIN, COMMIT, "TELL"]
    assert told(*late) == [False]
    assert group.run() == [BEGIN, "SELECT 1", COMMIT, "TELL"]
    assert told(*late) == [True]


async def test_where_nothing_waits_any_more_nothing_is_written(group: Group) -> None:
    group.post("SELECT 1")
    [work] = group.writer.posted
    group.run()
    work(group.db)
    assert group.since() == []


async def test_what_must_be_on_the_disk_is_told_behind_one_sync_the_rest_before(
    group: Group,
) -> None:
    both = [group.post("SELECT 1", durable=True), group.post("SELECT 2", durable=True)]
    assert group.run() == [SET, BEGIN, "SELECT 1", "SELECT 2", COMMIT, "SYNC", "TELL"]
    assert told(*both) == [True, True]
    durable, other = group.post("SELECT 1", durable=True), group.post("SELECT 2")
    seen: list[list[bool]] = []
    group.disk.look = lambda: seen.append(told(durable, other))
    assert group.run() == [BEGIN, "SELECT 1", "SELECT 2", COMMIT, "TELL", "SYNC", "TELL"]
    assert (seen, told(durable, other)) == ([[False, True]], [True, True])


async def test_who_goes_on_before_the_disk_has_it_is_told_of_the_commit(group: Group) -> None:
    write, other = group.post("SELECT 1", durable=True), group.post("SELECT 2", durable=True)
    write.committed = asyncio.get_running_loop().create_future()
    group.disk.failures = [OSError(5, "Input/output error")]
    group.disk.truncations = [sqlite3.OperationalError("locked")]
    assert group.run() == [
        *(SET, BEGIN, "SELECT 1", "SELECT 2", COMMIT),
        *("TELL", "SYNC", TRUNCATE, "TELL"),
    ]
    assert write.committed.result() is None
    assert [str(each.error) for each in (write, other)] == ["locked", "locked"]
    assert told(write, other) == [True, True]


async def test_whoever_has_gone_is_not_told(group: Group) -> None:
    writes = [group.post("SELECT 1", durable=durable) for durable in (False, True)]
    for write in writes:
        write.committed = asyncio.get_running_loop().create_future()
        write.committed.cancel()
        write.told.cancel()
    group.run()
    assert [write.result for write in writes] == [(1,), (1,)]


async def test_what_fails_is_told_at_once_and_undoes_nothing_else(group: Group) -> None:
    good = group.post("SELECT 1", durable=True)
    bad = group.post(failing(error := ValueError("no")), durable=True)
    bad.committed = asyncio.get_running_loop().create_future()
    assert group.run() == [
        *(SET, BEGIN, "SELECT 1", ROLLBACK),
        *(BEGIN, "SELECT 1", COMMIT),
        *(BEGIN, ROLLBACK),
        *("TELL", "SYNC", "TELL"),
    ]
    assert (good.error, good.is_committed, good.result) == (None, True, (1,))
    assert (bad.error, bad.is_committed, bad.committed.done()) == (error, False, True)
    assert told(good, bad) == [True, True]


async def test_what_fails_alone_is_not_tried_twice(group: Group) -> None:
    calls: list[None] = []
    write = group.post(failing(error := ValueError("no"), calls))
    group.run()
    assert (write.error, len(calls)) == (error, 1)


async def test_in_an_outage_all_are_told_and_the_next_waits_for_no_lock(group: Group) -> None:
    calls: list[None] = []
    writes = [group.post(failing(FULL, calls)), group.post("SELECT 1")]
    assert group.run() == [SET, BEGIN, ROLLBACK, "TELL"]
    assert ([write.error for write in writes], len(calls)) == ([FULL, FULL], 1)
    group.again(writes[1])
    assert writes[1].error is None
    assert group.run() == [AT_ONCE, BEGIN, "SELECT 1", COMMIT, "TELL"]
    assert group.commits.lock_timeout == 2
    group.post(failing(ValueError("no")))
    assert group.run() == [SET, BEGIN, ROLLBACK, "TELL"]
    group.post("SELECT 1")
    assert group.run() == [BEGIN, "SELECT 1", COMMIT, "TELL"]


def deny(what: str, db: sqlite3.Connection) -> None:
    def authorize(action: int, statement: str | None, *_: object) -> int:
        denied = action == sqlite3.SQLITE_TRANSACTION and statement == what
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    db.set_authorizer(authorize)


@pytest.mark.parametrize("what", ["BEGIN", "ROLLBACK"])
async def test_what_cannot_begin_or_be_undone_is_told_so(group: Group, what: str) -> None:
    deny(what, group.db)
    write = group.post(failing(ValueError("no")))
    group.run()
    group.db.set_authorizer(None)
    assert "not authorized" in str(write.error)


async def test_what_is_committed_is_not_done_again_when_the_disk_is_tried_again(
    group: Group,
) -> None:
    group.disk.failures = [OSError(5, "Input/output error")]
    group.disk.truncations = [False, False, True]
    write = group.post("SELECT 7", durable=True)
    assert group.run() == [SET, BEGIN, "SELECT 7", COMMIT, "SYNC", TRUNCATE, "TELL"]
    assert is_outage(write.error or ValueError())
    assert (str(write.error), write.is_committed) == ("the WAL is not synced", True)
    group.again(write)
    # What the kernel could not write is not asked of it again, and the lock is said anew.
    assert group.run() == [SET, BEGIN, COMMIT, TRUNCATE, "TELL"]
    assert str(write.error) == "the WAL is not synced"
    group.again(write)
    assert group.run() == [SET, BEGIN, COMMIT, TRUNCATE, "TELL"]
    assert (write.error, write.result) == (None, (7,))
    group.again(write)
    assert group.run() == [SET, BEGIN, COMMIT, "SYNC", "TELL"]


async def test_a_wal_that_cannot_be_written_elsewhere_is_lost_until_it_can(group: Group) -> None:
    group.disk.failures = [OSError(5, "Input/output error")]
    group.disk.truncations = [error := sqlite3.OperationalError("locked"), True]
    write = group.post("SELECT 7", durable=True)
    group.run()
    assert write.error is error
    group.again(write)
    assert group.run() == [SET, BEGIN, COMMIT, TRUNCATE, "TELL"]
    assert write.error is None


async def test_the_wal_is_synced_until_it_is_closed_and_a_new_connection_says_all_anew(
    group: Group,
) -> None:
    group.post("SELECT 1", durable=True)
    group.run()
    [wal] = group.disk.files
    os.fstat(wal)
    group.commits.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(wal)
    group.commits.close()
    closed = group.post("SELECT 1", durable=True)
    assert group.run() == [BEGIN, "SELECT 1", COMMIT, "TELL"]
    assert (closed.error, told(closed)) == (None, [True])
    group.commits.open(group.path)
    group.post("SELECT 1", durable=True)
    assert group.run() == [SET, BEGIN, "SELECT 1", COMMIT, "SYNC", "TELL"]


async def test_the_wal_is_emptied_and_filled_by_the_thread_that_has_it(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[tuple[object, int]] = []
    monkeypatch.setattr(group_commit, "prewrite", lambda db, wal: filled.append((db, wal)))
    group.post("SELECT 1", durable=True)
    group.run()
    group.commits.prewrite_wal(group.db)
    assert filled == [(group.db, group.disk.files[0])]
    group.disk.truncations = [False, True]
    assert [group.commits.truncate_wal(group.db) for _ in range(2)] == [False, True]
    group.commits.close()
    group.commits.prewrite_wal(group.db)
    assert len(filled) == 1


async def test_in_memory_each_is_written_by_itself_and_nothing_synced(group: Group) -> None:
    write: Write[Any] = Write(saying("SELECT 1"), durable=True)
    group.commits.alone(write, group.db)
    assert group.since() == [SET, BEGIN, "SELECT 1", COMMIT]
    assert (write.result, write.error) == ((1,), None)
    bad: Write[Any] = Write(failing(error := ValueError("no")), durable=True)
    group.commits.alone(bad, group.db)
    assert bad.error is error


def test_where_no_file_was_opened_none_is_filled_or_closed(db: sqlite3.Connection) -> None:
    commits = GroupCommit()
    commits.prewrite_wal(db)
    commits.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.OperationalError("locked"), True),
        (sqlite3.DatabaseError("file is not a database"), True),
        (sqlite3.IntegrityError("no"), False),
        (ValueError("no"), False),
    ],
)
def test_only_what_is_the_files_fault_is_an_outage(error: BaseException, expected: bool) -> None:
    assert is_outage(error) is expected


async def test_a_sync_is_timed_where_nobody_goes_on_beside_it(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does may keep the thread from running: the disk would seem slow for good."""
    times = iter([1.0, 1.25, 2.0, 5.0])
    monkeypatch.setattr(group_commit, "perf_counter", lambda: next(times))
    group.post("SELECT 1", durable=True)
    group.run()
    assert group.commits.sync_seconds == 0.25
    goes_on = Write(saying("SELECT 2"), durable=True)
    goes_on.committed = asyncio.get_running_loop().create_future()
    group.again(goes_on)
    group.run()
    assert group.commits.sync_seconds == 0.25
