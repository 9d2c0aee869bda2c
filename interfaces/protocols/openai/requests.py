"""What OpenAI's clients send: what is read of it, what is refused, and what is let pass.

Refused is what would change what the caller is promised; anything else that is not known, as
`temperature` or `user`, is ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from sluice.domain.chat import Turn
from sluice.interfaces.http.models import Several
from sluice.interfaces.http.problems import Problem, too_large, wrong
from sluice.interfaces.http.services import Options
from sluice.interfaces.protocols.openai.frames import PIPELINE

_TEXT_ONLY = ({"type": "text"},)
_COMPLETIONS: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": _TEXT_ONLY,
    "modalities": (["text"],),
    "audio": (),
    "stop": ([], ""),
    "web_search_options": (),
}
"""Refused unless it says what is done anyway, or null."""

_RESPONSES: Mapping[str, Sequence[Any]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "top_logprobs": (0,),
    "previous_response_id": (),
    "prompt": (),
    "store": (True,),
}


class _Asked(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Part(_Asked):
    type: Literal["text", "input_text", "output_text"]
    text: str


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Said(_Asked):
    """A message of either API."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Several[Part] | None, BeforeValidator(_parts)] = None

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content or ())

    def turn(self) -> Turn:
        return Turn("system" if self.role == "developer" else self.role, self.text)


class StreamOptions(_Asked):
    include_usage: bool | None = None


class Asked(_Asked):
    """What both APIs have in common."""

    model: str
    stream: bool | None = None
    metadata: dict[str, JsonValue] | None = None


class Completion(Asked):
    messages: Annotated[Several[Said], Field(min_length=1)]
    stream_options: StreamOptions | None = None

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Raises Problem for what is not offered."""
        _refuse(self, _COMPLETIONS)


def _input(given: Any) -> Any:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [_item(each) for each in given] if isinstance(given, list) else given


def _item(given: Any) -> Any:
    """A response's output may come back as input. Of its thoughts an empty message is kept, so
    that the items behind them have their places in errors; it is in no history.
    """
    thought = isinstance(given, dict) and given.get("type") == "reasoning"
    return {"role": "assistant"} if thought else given


class Conversation(_Asked):
    id: Annotated[str, Field(min_length=1, max_length=128)]


def _conversation(given: Any) -> Any:
    return {"id": given} if isinstance(given, str) else given


class TextOptions(_Asked):
    format: JsonValue = None


class ResponseRequest(Asked):
    input: Annotated[Several[Said], Field(min_length=1), BeforeValidator(_input)]
    instructions: str | None = None
    background: bool | None = None
    conversation: Annotated[Conversation | None, BeforeValidator(_conversation)] = None
    text: TextOptions | None = None

    def check(self) -> None:
        """Raises Problem for what is not offered."""
        _refuse(self, _RESPONSES)
        if self.text is not None and self.text.format not in (None, *_TEXT_ONLY):
            raise wrong("text.format", "is not offered here")


def _refuse(asked: Asked, offered: Mapping[str, Sequence[Any]]) -> None:
    for name, value in (asked.model_extra or {}).items():
        if name in offered and value is not None and value not in offered[name]:
            raise wrong(name, "is not offered here")


def question_of(said: Sequence[Said], field: str, options: Options) -> Sequence[Turn]:
    """The turns, of which the last is the question. Raises Problem."""
    *before, last = said
    if last.role != "user":
        raise wrong(f"{field}.{len(before)}.role", "the last message must be the user's")
    if not last.text.strip():
        raise wrong(f"{field}.{len(before)}.content", "must not be blank")
    if len(last.text.encode()) > options.max_message_bytes:
        raise too_large()
    if sum(len(one.text.encode()) for one in before) > _HISTORIES * options.max_message_bytes:
        raise too_large()
    # Strict upstreams refuse a chat with an empty message in it.
    return [*(one.turn() for one in before if one.text.strip()), last.turn()]


def model_of(name: str, options: Options) -> str | None:
    """The model that a request names, None for the default one. Raises Problem 404."""
    pipeline, named, model = name.partition(":")
    if pipeline == PIPELINE and not named:
        return None
    offered = options.models is None or model in options.models
    if pipeline == PIPELINE and 0 < len(model) <= _LONGEST_MODEL and offered:
        return model
    problem = Problem(404, "model_not_found", "There is no such model here.")
    problem.field = "model"
    raise problem


_LONGEST_MODEL = 200
_HISTORIES = 64
"""What may be before a question, in longest questions: a job without a chat keeps it all."""
