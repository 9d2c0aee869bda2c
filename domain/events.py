"""The closed event alphabet: what leaves a pipeline, enters the log and leaves as frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeGuard

from sluice.domain.errors import ChatError


class Cursor(NamedTuple):
    """A position in a job's log: both count from 1; numeric order is stream order."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"


BEGINNING = Cursor(1, 0)
"""Before every event."""


@dataclass(frozen=True, slots=True)
class StageStarted:
    stage: str
    progress: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class StageCompleted:
    stage: str
    progress: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class StageFailed:
    stage: str
    progress: int
    message: str | None = None


@dataclass(frozen=True, slots=True, init=False)
class Token:
    """A piece of the answer; `content` is never empty and always encodable as UTF-8."""

    content: str
    node: str

    def __init__(self, content: str, node: str) -> None:
        """As the dataclass's own, at half its price: nearly every event is one."""
        _set_content(self, content)
        _set_node(self, node)


_set_content, _set_node = (vars(Token)[name].__set__ for name in ("content", "node"))


ToolStatus = Literal["started", "arguments", "completed", "failed"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A step of one tool call: `call_id` is the model's, `parent` the call inside which it runs.

    `arguments` (JSON text, whole) come with that status; `result` (text, which may be cut) with
    `completed`. An error's text is in neither.
    """

    call_id: str
    name: str
    node: str
    status: ToolStatus
    parent: str | None = None
    arguments: str | None = None
    result: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks aloud: no part of the answer; `content` is never empty."""

    content: str
    node: str


@dataclass(frozen=True, slots=True)
class Data:
    """What a node has written for the user beside its text."""

    name: str
    data: "Json"
    node: str


InputKind = Literal["approval", "text", "form"]


@dataclass(frozen=True, slots=True)
class NeedsInput:
    """The graph asks a human: no end, but the log stands still until somebody has answered.

    `schema` is JSON Schema for the answer; `expires_at`, RFC 3339 in UTC, is when none is taken
    any more.
    """

    input_id: str
    prompt: "Json"
    kind: InputKind
    expires_at: str
    schema: "Mapping[str, Json] | None" = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Drop the job's text: what follows is the text.

    After `new_attempt` and `cursor_unknown` all else that was told is dropped, too.
    """

    reason: Literal["new_attempt", "cursor_unknown", "revised"]


_LARGEST_COUNT = 2**53 - 1
"""What every reader of JSON counts to exactly. A store holds the sum of a thousand of them."""


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value <= _LARGEST_COUNT


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int
    output_tokens: int
    total_tokens: int

    @classmethod
    def counted(cls, given: object, made: object, total: object) -> "Usage | None":
        """Of what somebody else says; None for what cannot be counted with. Without a total that
        can be, it is the sum.
        """
        if not (_is_count(given) and _is_count(made)):
            return None
        return cls(given, made, total if _is_count(total) else given + made)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.total_tokens + other.total_tokens,
        )


@dataclass(frozen=True, slots=True)
class Done:
    path: str
    answer: str
    intent: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    offline_model: bool = False
    hint: str | None = None
    """For whoever runs the graph: why nothing was streamed."""


@dataclass(frozen=True, slots=True)
class Failed:
    code: str
    message: str
    retryable: bool
    request_id: str

    @classmethod
    def of(cls, error: ChatError, request_id: str) -> "Failed":
        return cls(error.code, error.public, error.retryable, request_id)


CancelReason = Literal["user", "orphaned", "shutdown"]


@dataclass(frozen=True, slots=True)
class Cancelled:
    reason: CancelReason


Beside = Tool | Reasoning | Data
"""Told beside the answer: no part of its text."""
Stage = StageStarted | StageCompleted | StageFailed
Terminal = Done | Failed | Cancelled
Event = Stage | Token | Beside | NeedsInput | Reset | Terminal

QUEUED = StageCompleted("queued", 0)
"""Every attempt's first event."""
TERMINAL = (Done, Failed, Cancelled)


class Recorded(NamedTuple):
    """An event in the log."""

    id: Cursor
    event: Event


Json = str | int | float | bool | None | list["Json"] | Mapping[str, "Json"]
