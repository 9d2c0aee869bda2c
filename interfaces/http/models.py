"""What requests carry and answers hold. Unknown fields and other types are refused."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
)

from sluice.application.jobs import JobView
from sluice.domain.chat import Chat, ExecutionPath, JobStatus, Message, Role
from sluice.domain.events import Done, Failed
from sluice.domain.rollout import Reason, Source


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


T = TypeVar("T")
Several = Annotated[list[T], Field(fail_fast=True)]
"""Read up to the first that is wrong: only that is told, and a million would be an error each."""

Text = Annotated[str, AfterValidator(_not_blank), Field(json_schema_extra={"pattern": r"\S"})]
Title = Annotated[str, Field(max_length=200)]
Model = Annotated[str, Field(min_length=1, max_length=200)]


class NewChat(Asked):
    title: Title | None = None


class Question(Asked):
    message: Text
    model: Model | None = None
    metadata: dict[str, JsonValue] = {}


class FirstQuestion(Question):
    """Opens its chat; a `session_id` names that for its user, until it is deleted."""

    session_id: Annotated[str, Field(max_length=128)] | None = None


class Retry(Asked):
    """The same question again; it is not doubled in the history."""

    retry_of: str


class Renamed(Asked):
    title: Title | None


class Cancel(Asked):
    type: Literal["cancel"]


class Given(Asked):
    """A human's answer to a `needs_input`."""

    input_id: str
    value: JsonValue


def _opening(body: Any) -> str:
    asks = isinstance(body, dict) and not FirstQuestion.model_fields.keys().isdisjoint(body)
    return "FirstQuestion" if asks else "NewChat"


def _asking(body: Any) -> str:
    return "Retry" if isinstance(body, dict) and "retry_of" in body else "Question"


def _giving(body: Any) -> str:
    return "Cancel" if isinstance(body, dict) and "type" in body else "Given"


# The branch is chosen first, so that a refusal names a field of it.
BRANCHES = frozenset(
    {"NewChat", "FirstQuestion", "Question", "Retry", "Cancel", "Given"}
    | {"NewShare", "NewPlan", "NewState"}
)
Opening = Annotated[
    Annotated[NewChat, Tag("NewChat")] | Annotated[FirstQuestion, Tag("FirstQuestion")],
    Discriminator(_opening),
]
Asking = Annotated[
    Annotated[Question, Tag("Question")] | Annotated[Retry, Tag("Retry")],
    Discriminator(_asking),
]


Input = Annotated[
    Annotated[Cancel, Tag("Cancel")] | Annotated[Given, Tag("Given")], Discriminator(_giving)
]


class AcceptedBody(BaseModel):
    job_id: str
    chat_id: str
    status: Literal["queued"] = "queued"
    path: ExecutionPath
    stream_url: str


class ChatBody(BaseModel):
    id: str
    title: str | None
    created_at: datetime

    @classmethod
    def of(cls, chat: Chat) -> "ChatBody":
        return cls(id=chat.id, title=chat.title, created_at=chat.created_at)


class ChatPage(BaseModel):
    items: list[ChatBody]
    next_cursor: str | None


class MessageBody(BaseModel):
    id: str
    role: Role
    content: str
    job_id: str
    status: JobStatus
    created_at: datetime

    @classmethod
    def of(cls, message: Message) -> "MessageBody":
        return cls(
            id=message.id,
            role=message.role,
            content=message.content,
            job_id=message.job_id,
            status=message.status,
            created_at=message.created_at,
        )


class WholeChat(ChatBody):
    active_job_id: str | None
    items: list[MessageBody]


class UsageBody(BaseModel):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class ErrorBody(BaseModel):
    code: str
    message: str
    retryable: bool


class FlagBody(BaseModel):
    """The share in percent, why it was in force, who had set it, and their campaign."""

    share: float
    reason: Reason
    source: Source
    rollout: str | None


class JobBody(BaseModel):
    """`answer` is there once the job is completed, `partial` is the text of any other."""

    job_id: str
    chat_id: str
    path: ExecutionPath
    status: JobStatus
    answer: str | None
    partial: str | None
    finish_reason: str | None
    usage: UsageBody | None
    error: ErrorBody | None
    last_event_id: str
    created_at: datetime
    ended_at: datetime | None
    flag: FlagBody | None

    @classmethod
    def of(cls, view: JobView) -> "JobBody":
        done = view.end if isinstance(view.end, Done) else None
        failed = view.end if isinstance(view.end, Failed) else None
        usage = done and done.usage
        return cls(
            job_id=view.job.id,
            chat_id=view.job.chat_id,
            path=view.job.path,
            status=view.status,
            answer=done.answer if done else None,
            partial=None if done else view.text,
            finish_reason=done.finish_reason if done else None,
            usage=usage and UsageBody.model_validate(usage, from_attributes=True),
            error=failed and ErrorBody.model_validate(failed, from_attributes=True),
            last_event_id=str(view.last_event_id),
            created_at=view.job.created_at,
            ended_at=view.ended_at,
            flag=view.job.flag and FlagBody.model_validate(view.job.flag, from_attributes=True),
        )
