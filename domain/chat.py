"""Chats, jobs and questions: what a user asks for."""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Literal

from sluice.domain.events import Json
from sluice.domain.graph_state import Head, Resumption
from sluice.domain.rollout import Flag

JobId = str
ChatId = str
UserId = str

ExecutionPath = Literal["A1", "A2"]
JobStatus = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
Role = Literal["user", "assistant"]

_URL_SAFE, _HYPHEN = bytes.maketrans(b"+/", b"-_"), ord("-")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86_400
_MICROSECOND = timedelta(microseconds=1)


def new_id() -> str:
    """At least 128 random bits, URL-safe; without a hyphen first, which would make it an option."""
    while True:
        made = b2a_base64(urandom(17), newline=False).translate(_URL_SAFE)
        if made[0] != _HYPHEN:
            return made[:23].decode()


def now() -> datetime:
    return datetime.now(UTC)


def micros(moment: datetime) -> int:
    """Since the epoch: how stores keep a time."""
    since = moment - _EPOCH
    return (since.days * _DAY_S + since.seconds) * 1_000_000 + since.microseconds


def moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message, as the model shall see it."""

    role: Role | Literal["system"]
    content: str


@dataclass(frozen=True, slots=True)
class Job:
    """One answer in the making. `path` was decided when it was submitted, for good.

    With a `history` of its own it is in no chat: `chat_id` names nothing then, and neither the
    question nor the answer is kept longer than the job's log.
    `flag` says why its path; it is None for a job that an earlier version recorded.
    """

    id: JobId
    chat_id: ChatId
    user: UserId
    path: ExecutionPath
    message: str
    request_id: str
    model: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    retry_of: JobId | None = None
    created_at: datetime = field(default_factory=now)
    history: tuple[Turn, ...] | None = None
    flag: Flag | None = None

    @property
    def targeting_key(self) -> str:
        """What its path was drawn by: jobs of one key are one user's to a rollout."""
        by_chat = self.flag is not None and self.flag.by_chat
        return f"chat {self.chat_id}" if by_chat else f"user {self.user}"


@dataclass(frozen=True, slots=True)
class Question:
    """A job with the chat so far, oldest turn first; the new message is in the job.

    `head` is where the chat's graph stands, where it keeps a state of its own; `resumption` is
    there when the run goes on after a pause.
    """

    job: Job
    history: Sequence[Turn] = ()
    head: Head | None = None
    resumption: Resumption | None = None


@dataclass(frozen=True, slots=True)
class Chat:
    id: ChatId
    user: UserId
    title: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """What a chat keeps. An answer's `status` is its job's: anything but `completed` is partial."""

    id: str
    role: Role
    content: str
    job_id: JobId
    status: JobStatus
    created_at: datetime
