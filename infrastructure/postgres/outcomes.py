"""An outcome within the transaction that keeps the answer, in PostgreSQL."""

import secrets

from sluice.application.outcome_rows import FIELDS, hashed, values
from sluice.domain.outcome import JobOutcome
from sluice.infrastructure.postgres.database import Connection

_SET = ", ".join(f"{name} = excluded.{name}" for name in FIELDS)
_INSERT = f"""INSERT INTO outcomes ({", ".join(FIELDS)}, user_hash, first)
    VALUES ({", ".join(["%s"] * (len(FIELDS) + 1))}, %s AND NOT EXISTS (
        SELECT FROM outcomes
        WHERE rollout = %s AND user_hash = %s AND left_out IS NULL))
    ON CONFLICT (job_id) DO UPDATE SET {_SET}, written_at = clock_timestamp()
    WHERE outcomes.attempts <= excluded.attempts"""  # noqa: S608 - the names are ours


async def write_outcome(db: Connection, outcome: JobOutcome, targeting_key: str) -> None:
    """In place of what an earlier attempt wrote, and of nothing a later one did."""
    user = hashed(await _key(db), targeting_key)
    rollout = outcome.rollout or ""
    # Of a user's jobs that end at once, one is the first.
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [rollout + user])
    counts = outcome.left_out is None
    await db.execute(_INSERT.encode(), (*values(outcome), user, counts, rollout, user))


async def _key(db: Connection) -> bytes:
    """Made when it is needed for the first time."""
    found = await (await db.execute("SELECT key FROM outcome_key")).fetchone()
    if found is None:
        insert = "INSERT INTO outcome_key VALUES (1, %s) ON CONFLICT DO NOTHING"
        await db.execute(insert, [secrets.token_bytes(32)])
        found = await (await db.execute("SELECT key FROM outcome_key")).fetchone()
    assert found is not None  # noqa: S101 - it is never deleted
    key: bytes = found[0]
    return key
