"""An outcome within the transaction that keeps the answer, in SQLite."""

import secrets
import sqlite3
from datetime import datetime
from typing import Any

from sluice.application.outcome_rows import FIELDS, hashed, is_time, values
from sluice.domain.chat import micros, now
from sluice.domain.outcome import JobOutcome

TIMES = tuple(place for place, name in enumerate(FIELDS) if is_time(name))
_SET = ", ".join(f"{name} = excluded.{name}" for name in FIELDS)
_INSERT = f"""INSERT INTO outcomes ({", ".join(FIELDS)}, user_hash, written_at, first)
    VALUES ({", ".join("?" * (len(FIELDS) + 2))}, ? AND NOT EXISTS (
        SELECT 1 FROM outcomes
        WHERE rollout = ? AND user_hash = ? AND left_out IS NULL))
    ON CONFLICT (job_id) DO UPDATE SET {_SET}, written_at = excluded.written_at
    WHERE outcomes.attempts <= excluded.attempts"""  # noqa: S608 - the names are ours


def write_outcome(db: sqlite3.Connection, outcome: JobOutcome, targeting_key: str) -> None:
    """In place of what an earlier attempt wrote, and of nothing a later one did."""
    user = hashed(_key(db), targeting_key)
    given = values(outcome)
    for place in TIMES:
        given[place] = stored_value(given[place])
    rollout, counts = outcome.rollout or "", outcome.left_out is None
    db.execute(_INSERT, (*given, user, micros(now()), counts, rollout, user))


def stored_value(value: Any) -> Any:
    return micros(value) if isinstance(value, datetime) else value


def _key(db: sqlite3.Connection) -> bytes:
    """Made when it is needed for the first time."""
    found = db.execute("SELECT key FROM outcome_key").fetchone()
    if found is None:
        found = (secrets.token_bytes(32),)
        db.execute("INSERT INTO outcome_key VALUES (?)", found)
    key: bytes = found[0]
    return key
