"""The file in which graphs leave their checkpoints: when it is touched, and what outlasts what."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from sluice.domain.errors import Unavailable
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.sqlite import checkpoints as module
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from sluice.infrastructure.sqlite.file import LOCK_TIMEOUT_SECONDS

AT: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[SqliteCheckpoints]:
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.open()
    yield file
    await file.aclose()


async def leave(file: SqliteCheckpoints, said: str = "") -> None:
    made: Any = {**empty_checkpoint(), "channel_values": {"said": said}}
    await SqliteSaver(file).aput(AT, made, {}, {})


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def kept(folder: Path) -> int:
    with sqlite3.connect(folder / "a.db-state") as db:
        (count,) = db.execute("SELECT count(*) FROM checkpoints").fetchone()
    db.close()
    return int(count)


async def test_nothing_is_touched_before_it_is_opened_nor_behind_its_end(tmp_path: Path) -> None:
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.forget("thread")
    await file.prune("thread", [], "job")
    await file.aclose()
    assert (file.may_be, file.exists, files(tmp_path)) == (True, False, [])
    await file.open()
    assert file.exists
    await leave(file)
    await file.aclose()
    await file.aclose()
    await file.forget("thread")
    assert kept(tmp_path) == 1


async def test_where_no_file_can_be_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = SqliteCheckpoints(None)
    file._path.touch()
    assert (file.may_be, file.exists) == (False, False)
    await file.forget("thread")
    await file.aclose()


@pytest.mark.parametrize("why", ["no folder", "no database"])
async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, why: str) -> None:
    folder = tmp_path / "none" if why == "no folder" else tmp_path
    path = folder / "a.db-state"
    if folder is tmp_path:
        path.write_bytes(b"no database" * 1000)
    file = SqliteCheckpoints(folder / "a.db")
    with pytest.raises(ValueError, match=str(path)):
        await file.open()
    await file.aclose()


async def test_what_is_kept_outlasts_a_power_cut_and_is_its_owners_alone(
    file: SqliteCheckpoints, tmp_path: Path
) -> None:
    await leave(file)
    for connection in (file.connection, file._cleaner):
        told = {}
        for name in ("journal_mode", "synchronous", "secure_delete", "busy_timeout"):
            async with connection.execute(f"PRAGMA {name}") as rows:
                told[name] = [row[0] async for row in rows]
        assert told == {
            "journal_mode": ["wal"],
            "synchronous": [2],
            "secure_delete": [1],
            "busy_timeout": [1000 * LOCK_TIMEOUT_SECONDS],
        }
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}


async def test_what_is_forgotten_is_in_no_file_any_more(
    file: SqliteCheckpoints, tmp_path: Path
) -> None:
    await leave(file, "a secret of mine")
    assert any(b"a secret of mine" in path.read_bytes() for path in files(tmp_path))
    await file.forget("thread")
    assert not any(b"a secret of mine" in path.read_bytes() for path in files(tmp_path))


async def test_what_is_locked_by_another_program_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_SECONDS", 0.01)
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.open()
    await leave(file)
    other = sqlite3.connect(tmp_path / "a.db-state")
    other.execute("BEGIN IMMEDIATE")
    for work in (file.forget("thread"), file.prune("thread", [], "job")):
        with pytest.raises(Unavailable):
            await work
    other.execute("ROLLBACK")
    other.close()
    assert kept(tmp_path) == 1
    await file.forget("thread")
    assert kept(tmp_path) == 0
    await file.aclose()


async def test_nothing_is_pruned_any_more_once_it_was_given_up(
    file: SqliteCheckpoints, tmp_path: Path
) -> None:
    """The next job may have begun by then."""
    await leave(file)
    goes_on = threading.Event()
    holding = asyncio.create_task(file._cleaner.run(lambda _: goes_on.wait(5)))
    await asyncio.sleep(0)
    pruning = asyncio.create_task(file.prune("thread", [], "job"))
    await asyncio.sleep(0)
    pruning.cancel()
    await asyncio.wait([pruning])
    goes_on.set()
    await holding
    await file._cleaner.run(lambda _: None)
    assert (pruning.cancelled(), kept(tmp_path)) == (True, 1)
