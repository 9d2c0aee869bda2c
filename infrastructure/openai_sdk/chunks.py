"""What the caller of a streamed call gets for each event of its body.

The SDK builds its objects without validation, in Python, at 30 times the price of Pydantic's own
validation, which gives equal ones wherever an event has the documented shape. Wherever it has
not, the SDK's way is taken for that event, with its result and its error.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol, get_args

import msgspec
import openai
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, ValidationError

from .events import ParsedEvent

_FIELD = b"data: "
"""Where the SDK decodes, a wrong byte is that much farther from the beginning."""
_ODD_IN_A_ROW = 3
"""A server that is odd in each event is not tried any more."""


class Stream(Protocol):
    """As much of the SDK's two stream classes as an event is read with."""

    response: Any
    _client: Any
    _cast_to: Any


class Chunks:
    """Makes the chunks of one body. `of` gives those of one event, `left` what is held back."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        strict = getattr(stream._client, "_strict_response_validation", False)
        known = stream._cast_to in (ChatCompletionChunk, ResponseStreamEvent)
        self._tries = _ODD_IN_A_ROW if known and not strict else 0

    def of(self, data: bytes, heard: ParsedEvent) -> Iterator[Any]:
        yield self._object(data)

    def left(self) -> Iterator[Any]:
        return iter(())

    def _object(self, data: bytes) -> Any:
        if self._tries and (model := self._model(data)) is not None:
            try:
                made = model.model_validate_json(data, strict=True)
            except ValidationError:
                self._tries -= 1
            else:
                if not (made.model_extra and made.model_extra.get("error")):
                    self._tries = _ODD_IN_A_ROW
                    return made
        return self._as_the_sdk(data)

    def _model(self, data: bytes) -> type[BaseModel] | None:
        if self._stream._cast_to is ChatCompletionChunk:
            return ChatCompletionChunk
        try:
            return _events().get(_type_of(data).type)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _as_the_sdk(self, data: bytes) -> Any:
        stream = self._stream
        content = json.loads((_FIELD + data).decode()[len(_FIELD) :])
        error = content.get("error") if isinstance(content, dict) else None
        if error:
            message = error.get("message") if isinstance(error, dict) else None
            if not message or not isinstance(message, str):
                message = "An error occurred during streaming"
            raise openai.APIError(message, stream.response.request, body=error)
        return stream._client._process_response_data(
            data=content, cast_to=stream._cast_to, response=stream.response
        )


class Dicts(Chunks):
    """For langchain-openai, which makes a dict of each object: plain text comes as one at once.
    A usage with which it could not count would fail the whole answer.
    """

    def of(self, data: bytes, heard: ParsedEvent) -> Iterator[Any]:
        if not heard.uncounted:
            yield _dict(data) if heard.plain else self._object(data)


class OneText(Chunks):
    """For a LangChain model that was merely invoked: plain text is held back and given joined,
    in the first dict of its run, with the finish reason and the usage that follow it; whatever
    else comes is given as it comes, after it.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._first: Any = None
        self._texts: list[str] = []
        self._ended = False

    def of(self, data: bytes, heard: ParsedEvent) -> Iterator[Any]:
        if heard.uncounted:
            return
        if self._first is not None and not (heard.plain and not self._ended):
            if self._takes(data):
                return
            yield from self.left()
        if not heard.plain:
            yield self._object(data)
            return
        if self._first is None:
            self._first = _dict(data)
        self._texts.append(heard.text)

    def hold(self, text: str) -> None:
        """Of another event of plain text, while one is held."""
        self._texts.append(text)

    def left(self) -> Iterator[Any]:
        if self._first is not None:
            joined, self._first, self._ended = self._first, None, False
            joined["choices"][0]["delta"]["content"] = "".join(self._texts)
            self._texts.clear()
            yield joined

    def _takes(self, data: bytes) -> bool:
        """Whether it is no more than the held text's finish reason, or behind that its usage."""
        try:
            event = _dict(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        held = self._first
        if type(event) is not dict or _beside(event) != _beside(held):
            return False
        choices, usage = event.get("choices"), event.get("usage")
        if not self._ended:
            reason = None if usage else _reason_alone(choices)
            held["choices"][0]["finish_reason"], self._ended = reason, reason is not None
            return self._ended
        if choices == [] and type(usage) is dict and not held.get("usage"):
            held["usage"] = usage
            return True
        return False


def _beside(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in _OF_ONE_EVENT}


def _reason_alone(choices: Any) -> str | None:
    """The finish reason of one choice that says nothing else."""
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return None
    choice = choices[0]
    delta, reason = choice.get("delta"), choice.get("finish_reason")
    silent = type(delta) is dict and delta.items() <= _SILENT.items()
    alone = silent and all(
        name in ("delta", "finish_reason") or not value for name, value in choice.items()
    )
    return reason if alone and type(reason) is str and reason else None


_OF_ONE_EVENT = ("choices", "usage", "obfuscation")
_SILENT = {"role": "assistant", "content": ""}


class _Typed(msgspec.Struct, gc=False):
    type: str = ""


_dict = msgspec.json.Decoder().decode
_type_of = msgspec.json.Decoder(_Typed).decode


@cache
def _events() -> dict[str, type[BaseModel]]:
    """The classes of the Responses API's events, by their `type`."""
    union, *_ = get_args(ResponseStreamEvent)
    return {
        kind: event
        for event in get_args(union)
        for kind in get_args(event.model_fields["type"].annotation)
    }
