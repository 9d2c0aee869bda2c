"""What clients send. What would change what is promised is refused; all else unknown is ignored."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sluice.interfaces.http.models import Question, Several
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.routes.messages import check_question
from sluice.interfaces.http.services import Options

MODES_KEY = "langgraph_stream_mode"
"""In a job's metadata: what its client asked to see, for when it comes back without saying so."""

_MODES = {
    "values": "values",
    "messages": "messages",
    "messages-tuple": "messages",
    "custom": "custom",
}
_REFUSED = ("interrupt_before", "interrupt_after", "webhook", "after_seconds", "feedback_keys")
"""Each asks for something that would not happen."""
_LONGEST_ID = 255
_LONGEST_MODEL = 200

Names = str | Sequence[str]
Thread = Annotated[str, Field(min_length=1, max_length=128)]
ThreadPath = Annotated[str, Path(alias="thread", max_length=128)]


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class NewThread(_Asked):
    thread_id: Thread | None = None
    metadata: dict[str, JsonValue] | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    supersteps: Several[JsonValue] | None = None


class ChangedThread(_Asked):
    metadata: dict[str, JsonValue] | None = None


class Page(_Asked):
    """`metadata` names the assistant, as chat pages do, and there is one."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0, le=1000)] = 0
    ids: JsonValue = None
    status: JsonValue = None
    values: JsonValue = None

    def check(self) -> None:
        """Raises Problem: threads that were not asked for would be found, too."""
        for name in ("ids", "status", "values"):
            if getattr(self, name):
                raise wrong(name, "cannot be searched by")


class Past(_Asked):
    limit: Annotated[int, Field(ge=1)] = 10
    before: JsonValue = None


class NewRun(BaseModel):
    """`extra`: what is not known here, to be looked through for what must be refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    assistant_id: str
    input: JsonValue = None
    command: JsonValue = None
    stream_mode: str | Several[str] | None = None
    metadata: dict[str, JsonValue] | None = None
    checkpoint: dict[str, JsonValue] | None = None
    checkpoint_id: str | None = None
    multitask_strategy: Literal["reject", "enqueue", "interrupt", "rollback"] | None = None
    if_not_exists: Literal["create", "reject"] | None = None

    def check(self) -> None:
        """Raises Problem for what cannot be kept to, and Conflict for an answer to no question."""
        for name in _REFUSED:
            if (self.model_extra or {}).get(name):
                raise wrong(name, "is not possible here")
        if self.multitask_strategy == "rollback":
            raise wrong("multitask_strategy", "an answer cannot be undone")
        if self.command is not None:
            raise wrong("command", "an answer is given with runs/stream, and nothing beside it")

    def resumed(self) -> JsonValue:
        """The answer, or answers by their questions' ids. Raises Problem 422."""
        if not isinstance(self.command, dict) or set(self.command) != {"resume"}:
            raise wrong("command", "only resume is possible here")
        if self.input is not None:
            raise wrong("input", "must be null beside an answer")
        return self.command["resume"]

    @property
    def modes(self) -> Sequence[str]:
        return modes_of(self.stream_mode) or ["values"]

    @property
    def parent(self) -> str | None:
        """The checkpoint that the run is to go on from."""
        given = (self.checkpoint or {}).get("checkpoint_id", self.checkpoint_id)
        return given if isinstance(given, str) else None


def modes_of(names: Names | None) -> Sequence[str]:
    """Those that there is something to send for, each once."""
    listed = [names] if isinstance(names, str) else names or ()
    known = (_MODES.get(name) for given in listed for name in given.split(","))
    return sorted({mode for mode in known if mode is not None})


def question_of(given: JsonValue, options: Options, assistant: str) -> tuple[Question, str | None]:
    """The last human message, and its id. Raises Problem 422, which names the field.

    `assistant`: any name is the one pipeline's; `name:model` asks for a model.
    """
    if not isinstance(given, dict) or "messages" not in given:
        raise wrong("input.messages", "must be there: they hold the question")
    for key in given:
        if key != "messages":
            raise wrong(f"input.{key}", "is not taken: a question is all that can be sent")
    field, message = _last_human(given["messages"])
    text = _text(message.get("content"), f"{field}.content")
    _, _, model = assistant.partition(":")
    if len(model) > _LONGEST_MODEL:
        raise wrong("assistant_id", f"names a model of more than {_LONGEST_MODEL} characters")
    question = Question(message=text, model=model or None)
    check_question(question, options)
    return question, _id(message.get("id"), f"{field}.id")


def _last_human(messages: JsonValue) -> tuple[str, Mapping[str, Any]]:
    listed = messages if isinstance(messages, list) else [messages]
    for index, message in reversed(list(enumerate(listed))):
        match message:
            case str():
                return f"input.messages.{index}", {"content": message}
            case ["human" | "user", content]:
                return f"input.messages.{index}", {"content": content}
            case dict() if message.get("type", message.get("role")) in ("human", "user"):
                return f"input.messages.{index}", message
    raise wrong("input.messages", "must have a human message")


def _text(content: JsonValue, field: str) -> str:
    text = content
    if isinstance(content, list):
        pieces = [_piece(block, f"{field}.{index}") for index, block in enumerate(content)]
        text = "".join(pieces)
    if not isinstance(text, str):
        raise wrong(field, "must be text")
    if not text.strip():
        raise wrong(field, "must not be blank")
    return text


def _piece(block: JsonValue, field: str) -> str:
    match block:
        case str():
            return block
        case {"type": "text", "text": str(text)}:
            return text
    raise wrong(field, "must be text")


def _id(given: JsonValue, field: str) -> str | None:
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > _LONGEST_ID:
        raise wrong(field, f"must be a text of at most {_LONGEST_ID} characters")
    return given
