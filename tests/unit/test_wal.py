"""The WAL of the file under the stores, written in advance."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sluice.domain.chat import Chat, new_id, now
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.file import WAL_BYTES


async def test_the_wal_has_its_blocks_before_it_is_written_to(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    wal, chats = tmp_path / "sluice.db-wal", SqliteChats(database)
    await database.scrub_rest()
    assert wal.stat().st_size == WAL_BYTES
    chat = await chats.open(Chat(new_id(), "ann", "무", now()))
    assert wal.stat().st_size == WAL_BYTES
    await chats.delete("ann", chat.id)
    assert wal.stat().st_size == 0
    await database.scrub_rest()
    assert wal.stat().st_size == WAL_BYTES
    assert not wal.read_bytes().strip(b"\0")
    chat = await chats.open(Chat(new_id(), "ann", "무", now()))
    copy = tmp_path / "killed"  # as a kill leaves it
    copy.mkdir()
    for name in ("sluice.db", "sluice.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    with closing(sqlite3.connect(copy / "sluice.db")) as db:
        assert db.execute("SELECT id FROM chats").fetchall() == [(chat.id,)]


async def test_the_wal_is_filled_up_only_while_nobody_else_writes(
    tmp_path: Path, database: SqliteDatabase
) -> None:
    wal = tmp_path / "sluice.db-wal"
    await database.scrub()
    with closing(sqlite3.connect(tmp_path / "sluice.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await database.scrub_rest()
        assert wal.stat().st_size == 0
        other.execute("ROLLBACK")
    await database.scrub_rest()
    assert wal.stat().st_size == WAL_BYTES


async def test_where_the_wal_has_no_room_in_advance_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room, pwrite = [WAL_BYTES // 2], os.pwrite

    def short(file: int, data: bytes, at: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(file, data[: room.pop()], at)

    monkeypatch.setattr(os, "pwrite", short)
    database = SqliteDatabase(tmp_path / "a.db")
    await database.open()
    await database.scrub_rest()
    chats = SqliteChats(database)
    chat = await chats.open(Chat(new_id(), "ann", "무", now()))
    assert (tmp_path / "a.db-wal").stat().st_size < WAL_BYTES // 2
    assert await SqliteChats(database).chat("ann", chat.id) == chat
    assert "No space left" in caplog.text
    await database.aclose()
