"""Outcomes as rows: the columns that every store has, and what stands in them."""

import hmac
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from sluice.domain.outcome import Delivered, JobOutcome, StoredOutcome

FIELDS = tuple(field.name for field in fields(JobOutcome))
"""Of the table `outcomes`, in their order; behind them stand `user_hash`, `first` and `written_at`.
An outcome that is in no rollout has an empty one."""
_TIMES = frozenset(name for name in FIELDS if name.endswith("_at"))
_values = attrgetter(*FIELDS)
_ROLLOUT = FIELDS.index("rollout")
READ = f"o.number, o.written_at, o.user_hash, o.first, {', '.join(f'o.{name}' for name in FIELDS)}"
READ_DELIVERED = "d.job_id, d.first_at, d.longest_gap, d.seen"


def hashed(key: bytes, targeting_key: str) -> str:
    """Who has the key can find a user's jobs; nobody can read who it is."""
    return hmac.digest(key, targeting_key.encode(), "sha256")[:16].hex()


def values(outcome: JobOutcome) -> list[Any]:
    found = list(_values(outcome))
    found[_ROLLOUT] = outcome.rollout or ""
    return found


def is_time(name: str) -> bool:
    return name in _TIMES


def stored(row: Sequence[Any]) -> StoredOutcome:
    """A row of READ and READ_DELIVERED, its times as datetimes."""
    number, written_at, user, first = row[:4]
    given = dict(zip(FIELDS, row[4 : 4 + len(FIELDS)], strict=True))
    given["rollout"] = given["rollout"] or None
    for name in ("fell_back", "spoiled"):
        given[name] = bool(given[name])
    job_id, first_at, gap, seen = row[4 + len(FIELDS) :]
    delivered = None if job_id is None else Delivered(job_id, first_at, gap, bool(seen))
    return StoredOutcome(number, written_at, user, bool(first), JobOutcome(**given), delivered)


def flat(row: StoredOutcome) -> dict[str, Any]:
    """For an export: one column a field, times in RFC 3339."""
    outcome, delivered = row.outcome, row.delivered
    found = {name: getattr(outcome, name) for name in FIELDS}
    found |= {
        "user": row.user,
        "first_exposure": row.first,
        "first_character_at": delivered and delivered.first_at,
        "longest_gap": delivered and delivered.longest_gap,
        "left_early": delivered is not None and not delivered.seen,
    }
    return {name: _shown(value) for name, value in found.items()}


def _shown(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
