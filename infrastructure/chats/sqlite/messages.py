"""What a chat says, as rows: a question with its turn, and what answers it."""

import sqlite3

from sluice.domain.chat import Job, JobStatus, Message, Role, micros, new_id, now
from sluice.domain.errors import NotFound


def _turn(db: sqlite3.Connection, job_id: str) -> tuple[int, int] | None:
    """The chat's key and the turn of a job's question."""
    row: tuple[int, int] | None = db.execute(
        "SELECT chat, turn FROM turns WHERE job_id = ?", (job_id,)
    ).fetchone()
    return row


def ask(db: sqlite3.Connection, job: Job, message: Message) -> bool:
    """Is it all that the chat says?

    A retried question is not repeated: it becomes the new job's.
    """
    query = """SELECT key, (SELECT max(turn) FROM messages WHERE chat = chats.key),
        EXISTS (SELECT 1 FROM turns WHERE job_id = ?) FROM chats WHERE user = ? AND id = ?"""
    found = db.execute(query, (job.id, job.user, job.chat_id)).fetchone()
    if found is None:
        raise NotFound(job.chat_id)
    chat, last, known = found
    if known:
        db.execute("UPDATE turns SET attempt = 1 WHERE job_id = ? AND attempt > 1", (job.id,))
        return False
    retried = job.retry_of and _turn(db, job.retry_of)
    if retried and retried[0] == chat:
        turn = retried[1]
        db.execute(
            "UPDATE messages SET job_id = ? WHERE chat = ? AND turn = ? AND role = 'user'",
            (job.id, chat, turn),
        )
    else:
        turn = (last or 0) + 1
        say(db, chat, turn, message)
    db.execute("INSERT INTO turns (job_id, chat, turn) VALUES (?, ?, ?)", (job.id, chat, turn))
    return last is None and not retried


def unask(db: sqlite3.Connection, job: Job) -> None:
    db.execute("DELETE FROM turns WHERE job_id = ?", (job.id,))
    if job.retry_of and _turn(db, job.retry_of):
        back = "UPDATE messages SET job_id = ? WHERE job_id = ? AND role = 'user'"
        db.execute(back, (job.retry_of, job.id))
    else:
        db.execute("DELETE FROM messages WHERE job_id = ? AND role = 'user'", (job.id,))


def message_of(
    job: Job, role: Role, content: str, status: JobStatus, message_id: str | None = None
) -> Message:
    return Message(message_id or new_id(), role, content, job.id, status, now())


def say(db: sqlite3.Connection, chat: int, turn: int, message: Message) -> None:
    db.execute(
        "INSERT INTO messages (chat, turn, id, role, content, job_id, status, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (job_id, role) DO UPDATE SET content = excluded.content,"
        " status = excluded.status",
        (
            *(chat, turn, message.id, message.role, message.content, message.job_id),
            *(message.status, micros(message.created_at)),
        ),
    )
