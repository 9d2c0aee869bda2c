"""The database's file: whose it is, who may see it, and how it is brought up to date."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sluice.infrastructure.sqlite.schema import APPLICATION_ID, STEPS

logger = logging.getLogger(__name__)

sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)

WAL_BYTES = 4 * 1024 * 1024
"""As large as SQLite lets the WAL become before it begins at its start again."""
LOCK_TIMEOUT_SECONDS = 2
"""Seconds to wait for another program that holds SQLite's lock."""


def reserve(path: Path) -> int:
    """Takes the file for this process, by a lock on a file beside it; makes both if missing.

    The kernel lets go of the lock whatever ends the process. Raises ValueError if another
    process has it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Beside the file itself, not beside a link to it: under any name it has but one lock.
    lock = os.open(f"{path.resolve()}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Before SQLite makes it, with a mode that the WAL takes over: chats are private.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except BlockingIOError:
        os.close(lock)
        raise ValueError(f"{path} is in use by another process") from None
    except OSError:
        os.close(lock)
        raise
    return lock


def connect(path: Path) -> sqlite3.Connection:
    """Raises ValueError, or an error of SQLite, if it is not a database of this program."""
    db = _connected(path)
    try:
        _check_owner(db, path)
        if db.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",):
            db.execute("PRAGMA synchronous = NORMAL")  # what must be on the disk syncs the WAL
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA foreign_keys = ON")
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    db = _connected(path)
    db.execute("PRAGMA query_only = ON")
    return db


def open_wal(path: Path) -> int | None:
    """The WAL of a database that is open, to be synced: it is the same file until that is closed.

    None in memory, and where the file system bears no WAL: there each commit is synced.
    """
    try:
        return os.open(f"{path.resolve()}-wal", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def prewrite(db: sqlite3.Connection, wal: int) -> None:
    """Fills the WAL up with zeros, which SQLite takes for its end.

    Where a file has its blocks already a sync need not wait for the file system's own journal.
    """
    size = before = os.fstat(wal).st_size
    if size >= WAL_BYTES:
        return
    try:
        db.execute("BEGIN IMMEDIATE")  # or another program might write where the zeros go
    except sqlite3.OperationalError:
        return
    try:
        while size < WAL_BYTES:
            size += os.pwrite(wal, bytes(WAL_BYTES - size), size)
        sync(wal)
    except OSError as error:
        logger.warning("the WAL cannot be written in advance: %s", error.strerror)
        os.ftruncate(wal, before)  # the room may be wanted for what is to be kept
    finally:
        db.execute("ROLLBACK")


def touch(db: sqlite3.Connection) -> None:
    """Writes, and changes nothing."""
    db.execute(f"PRAGMA user_version = {len(STEPS)}")


def truncate_wal(db: sqlite3.Connection) -> bool:
    """Whether it could be done. Does not wait long for who reads: nobody can write meanwhile."""
    db.execute("PRAGMA busy_timeout = 100")
    try:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_SECONDS * 1000}")
    return not busy


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
    )


def _check_owner(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION_ID:
        raise ValueError(f"{path} is the database of another program")
    if version > len(STEPS):
        raise ValueError(
            f"{path} was written by a newer Sluice (version {version}, known: {len(STEPS)})"
        )


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
    db.execute("COMMIT")
