"""The names and numbers of the Redis log.

The braces make a cluster keep all of a job's keys in one place, and the index of a chat.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from domain.chat import ChatId, Job, JobId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def header_key(job_id: JobId) -> bytes:
    return b"sluice:{%b}:job" % job_id.encode()


def log_key(job_id: JobId) -> bytes:
    return b"sluice:{%b}:log" % job_id.encode()


def chat_key(chat_id: ChatId) -> bytes:
    """Job ids by when the index may forget them."""
    return b"sluice:{%b}:jobs" % chat_id.encode()


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def dump(job: Job) -> bytes:
    return msgspec.json.encode(job)


def load(stored: bytes) -> Job:
    fields = msgspec.json.decode(stored)
    return Job(**fields | {"created_at": datetime.fromisoformat(fields["created_at"])})
