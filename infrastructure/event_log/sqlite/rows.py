"""A job's log as rows: one for each run of events that was committed together.

A row's body is a JSON list: `[node, [content, …]]` for consecutive tokens of one node, and
`[name, data]` for any other event, as the codec has it. Ids are not stored but counted. Loading
joins tokens, so that a replay costs what its text costs and not what its tokens did.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import msgspec

from sluice.application.coalescing import MAX_TOKEN_BYTES, Lengths
from sluice.application.codec import decode, encode
from sluice.application.flag_json import dump_flag, load_flag
from sluice.domain.chat import ChatId, Job, JobId, Turn, micros, moment
from sluice.domain.errors import StreamLost
from sluice.domain.events import TERMINAL, Cursor, Failed, Recorded, Token

_json = msgspec.json.Encoder(enc_hook=str).encode
"""A LangChain message's `text` is no plain string, which msgspec refuses."""
Row = tuple[int, int, int, bytearray]
"""The job's key, the attempt, the first event's seq, the body: a bytearray, as `sqlite3` looks for
adapters of bytes in every place where there could be one."""

_INSERTS = tuple(
    (size, f"INSERT INTO batches (job, attempt, first, body) VALUES {values}")  # noqa: S608
    for size in (32, 16, 8, 4, 2, 1)
    for values in [", ".join(["(?, ?, ?, ?)"] * size)]
)
"""By how many rows they insert."""

_ASKED = ("id", "chat_id", "user", "path", "message", "request_id", "model")
_JOB = f"{', '.join(_ASKED)}, metadata, retry_of, created_at, history, flag"


@dataclass(slots=True)
class Stored:
    """`joined`: as Buffer takes it."""

    key: int
    job: Job
    attempt: int
    ended_at: int | None
    paused: bool = False
    records: list[Recorded] = field(default_factory=list)
    joined: dict[int, Lengths] = field(default_factory=dict)


def insert_job(
    db: sqlite3.Connection, job: Job, first: Recorded, *, attempt: int = 0
) -> int | None:
    """The new job's key; None if it was there."""
    history = job.history and [(turn.role, turn.content) for turn in job.history]
    inserted = db.execute(
        f"INSERT INTO jobs ({_JOB}, attempt)"  # noqa: S608
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (
            *(job.id, job.chat_id, job.user, job.path, job.message, job.request_id, job.model),
            *(json.dumps(job.metadata), job.retry_of, micros(job.created_at)),
            None if history is None else json.dumps(history),
            *(dump_flag(job.flag), attempt),
        ),
    )
    if not inserted.rowcount:
        return None
    key = inserted.lastrowid
    assert key is not None  # noqa: S101 - a row was inserted
    insert(db, rows(key, [first]))
    return key


def next_attempt(db: sqlite3.Connection, key: int, after: int) -> bool:
    """False if the job has ended or is gone, or if it is not `after` attempts that have begun."""
    update = (
        "UPDATE jobs SET attempt = attempt + 1, paused = FALSE"
        " WHERE key = ? AND attempt = ? AND ended_at IS NULL"
    )
    return bool(db.execute(update, (key, after)).rowcount)


def go_on(db: sqlite3.Connection, key: int, after: int) -> bool:
    """False if there is no such attempt that has paused."""
    update = (
        "UPDATE jobs SET paused = FALSE"
        " WHERE key = ? AND attempt = ? AND paused AND ended_at IS NULL"
    )
    return bool(db.execute(update, (key, after)).rowcount)


def pause(db: sqlite3.Connection, key: int) -> None:
    db.execute("UPDATE jobs SET paused = TRUE WHERE key = ?", (key,))


def insert(db: sqlite3.Connection, new: Sequence[Row]) -> None:
    """In few statements: with each the thread gives the interpreter away, and must get it back."""
    start = 0
    for size, statement in _INSERTS:
        while len(new) - start >= size:
            db.execute(statement, tuple(chain.from_iterable(new[start : start + size])))
            start += size


def end(db: sqlite3.Connection, key: int, when: int) -> None:
    db.execute("UPDATE jobs SET ended_at = ? WHERE key = ?", (when, key))


def unfinished(db: sqlite3.Connection, chat_id: ChatId | None) -> list[Job]:
    of_chat, parameters = ("", ()) if chat_id is None else ("AND chat_id = ?", (chat_id,))
    query = f"SELECT {_JOB} FROM jobs WHERE ended_at IS NULL {of_chat} ORDER BY key"  # noqa: S608
    return [_job(row) for row in db.execute(query, parameters)]


def delete_of_chat(db: sqlite3.Connection, chat_id: ChatId) -> None:
    _delete(db, db.execute("SELECT key FROM jobs WHERE chat_id = ?", (chat_id,)).fetchall())


def delete_expired(db: sqlite3.Connection, before: int, limit: int) -> int:
    """How many were deleted: at most `limit`, so that nobody waits long for the writer."""
    query = "SELECT key FROM jobs WHERE ended_at < ? LIMIT ?"
    keys = db.execute(query, (before, limit)).fetchall()
    _delete(db, keys)
    return len(keys)


def _delete(db: sqlite3.Connection, keys: list[tuple[int]]) -> None:
    db.executemany("DELETE FROM batches WHERE job = ?", keys)
    db.executemany("DELETE FROM jobs WHERE key = ?", keys)


def rows(key: int, records: Sequence[Recorded]) -> Sequence[Row]:
    """One row for each attempt among the records."""
    if records[0].id.attempt == records[-1].id.attempt:  # nearly always
        return [_row(key, records)]
    return [_row(key, list(said)) for _, said in groupby(records, lambda one: one.id.attempt)]


def _row(key: int, records: Sequence[Recorded]) -> Row:
    items: list[tuple[str, Any]] = []
    pieces: list[str] = []
    node = None
    for _, event in records:
        if type(event) is Token:
            if event.node != node:
                pieces = []
                node = event.node
                items.append((node, pieces))
            pieces.append(event.content)
        else:
            node = None
            items.append(encode(event))
    return key, *records[0].id, bytearray(_json(items))


def load(db: sqlite3.Connection, job_id: JobId) -> Stored | None:
    query = f"SELECT {_JOB}, key, attempt, ended_at, paused FROM jobs WHERE id = ?"  # noqa: S608
    row = db.execute(query, (job_id,)).fetchone()
    if row is None:
        return None
    *told, key, attempt, ended_at, paused = row
    loaded = Stored(key, _job(told), attempt, ended_at, bool(paused))
    query = "SELECT attempt, first, body FROM batches WHERE job = ? ORDER BY key"
    _Loading(loaded).take(db.execute(query, (loaded.key,)).fetchall())
    return loaded


class _Loading:
    """Joins tokens, and looks for gaps.

    Behind a gap the rest of the attempt is left out: a later attempt makes it good with its
    `reset`, and where none does the log ends in StreamLost, as the attempt after the last.
    """

    def __init__(self, loaded: Stored) -> None:
        self._loaded = loaded
        self._last = Cursor(0, 0)
        self._lost = False
        self._node, self._pieces, self._size = "", list[str](), 0

    def take(self, batches: Iterable[tuple[int, int, bytes]]) -> None:
        for attempt, first, body in batches:
            if attempt != self._last.attempt:
                self._flush()
                self._last, self._lost = Cursor(attempt, 0), False
            self._lost = self._lost or first != self._last.seq + len(self._pieces) + 1
            if not self._lost:
                self._batch(body)
        self._flush()
        loaded = self._loaded
        ended = loaded.records and isinstance(loaded.records[-1].event, TERMINAL)
        if loaded.ended_at is not None and not ended:
            failed = Failed.of(StreamLost(), loaded.job.request_id)
            loaded.records.append(Recorded(Cursor(loaded.attempt + 1, 1), failed))

    def _batch(self, body: bytes) -> None:
        try:
            items = [
                (name, data if isinstance(data, list) else decode(name, data))
                for name, data in msgspec.json.decode(body)
            ]
        except (ValueError, TypeError, KeyError):
            self._lost = True
            return
        for name, item in items:
            if isinstance(item, list):
                self._run(name, item)
            else:
                self._flush()
                self._last = Cursor(self._last.attempt, self._last.seq + 1)
                self._loaded.records.append(Recorded(self._last, item))

    def _run(self, node: str, pieces: list[str]) -> None:
        if node != self._node:
            self._flush()
            self._node = node
        for piece in pieces:
            size = len(piece.encode())
            if self._size + size > MAX_TOKEN_BYTES:
                self._flush()
            self._pieces.append(piece)
            self._size += size

    def _flush(self) -> None:
        pieces = self._pieces
        if pieces:
            self._last = Cursor(self._last.attempt, self._last.seq + len(pieces))
            self._loaded.joined[len(self._loaded.records)] = array("I", map(len, pieces))
            self._loaded.records.append(Recorded(self._last, Token("".join(pieces), self._node)))
            self._pieces, self._size = [], 0


def _job(row: Sequence[Any]) -> Job:
    *asked, metadata, retry_of, created_at, history, flag = row
    named = dict(zip(_ASKED, asked, strict=True))
    return Job(
        **named,
        metadata=json.loads(metadata),
        retry_of=retry_of,
        created_at=moment(created_at),
        history=None if history is None else tuple(Turn(*turn) for turn in json.loads(history)),
        flag=load_flag(flag),
    )
