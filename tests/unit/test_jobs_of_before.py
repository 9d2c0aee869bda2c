"""Jobs that were stored before a job told why it took its path."""

import json
import sqlite3
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec
import pytest

from sluice.application.flag_json import dump_flag, load_flag
from sluice.application.ports import Accepted
from sluice.domain.chat import new_id
from sluice.domain.events import StageCompleted
from sluice.domain.rollout import Flag
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.event_log.redis.entries import dump, load
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.schema import STEPS
from tests.doubles import a_job

FLAG = Flag(5, "split", "env")


def execute(statement: str, job: str, db: sqlite3.Connection) -> None:
    db.execute(statement, (job,))


async def test_a_file_of_before_is_read_and_its_jobs_and_keys_have_no_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, job = SqliteDatabase(tmp_path / "old.db"), new_id()
    with monkeypatch.context() as patched:
        patched.setattr("sluice.infrastructure.sqlite.file.STEPS", STEPS[:4])
        await database.open()
        kept = (
            "INSERT INTO jobs VALUES"
            " (1, ?, 'c', 'u', 'A2', 'why?', 'r', 'm', '{}', NULL, 7, 0, NULL)"
        )
        claimed = "INSERT INTO claims VALUES ('u', 'k', 'f', ?, 'c', 'A2', 9000000000000000)"
        for insert in (kept, claimed):
            await database.write(partial(execute, insert, job))
        await database.aclose()
    await database.open()
    log, keys = SqliteEventLog(database, retention=60), SqliteIdempotency(database)
    old = await log.job(job)
    assert (old.path, old.message, old.model, old.flag) == ("A2", "why?", "m", None)
    assert (await keys.claim("u", "k", "f", Accepted("other", "c", "A1", FLAG))).flag is None
    await log.create(a_job(id="new", flag=FLAG), StageCompleted("queued", 0))
    assert (await log.job("new")).flag == FLAG
    await log.aclose()
    await database.aclose()


def test_a_job_of_before_in_redis_has_no_flag() -> None:
    stored = msgspec.json.decode(dump(a_job()))
    del stored["flag"]
    assert load(msgspec.json.encode(stored)).flag is None


def test_what_a_newer_version_adds_to_a_flag_is_left_out() -> None:
    stored = msgspec.json.decode(dump(a_job(flag=FLAG)))
    stored["flag"] |= {"plan": "p", "rollout": None}
    assert load(msgspec.json.encode(stored)).flag == FLAG


def test_a_flag_is_kept_as_json_and_comes_back_the_same() -> None:
    stored = dump_flag(FLAG)
    assert stored is not None
    assert json.loads(stored) == asdict(FLAG)
    assert load_flag(stored) == load_flag({"share": 5, "reason": "split", "source": "env"}) == FLAG
    assert (dump_flag(None), load_flag(None)) == (None, None)
