"""The chunk of a streamed chat completion: as much of it as anything is made of."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sluice.domain.errors import UpstreamBadResponse
from sluice.domain.events import Usage

NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises: for broken JSON, for another shape, for UTF-8 that is none, for depth."""


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct, gc=False):
    """Servers have four names for reasoning, and `function_call` is what calls once were. One sends
    a content that is a number as a number.
    """

    content: str | list[Any] | int | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    error: Any = None


class Choice(msgspec.Struct, gc=False):
    """`message` in the place of `delta` is a whole answer as one event, and `text` is what
    completions said before there were chats. An empty `delta` is a list where PHP has written it.
    """

    delta: Said | list[Any] | None = None
    message: Said | None = None
    text: str | None = None
    finish_reason: str | None = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """`x_groq` is where Groq tells what has stopped its answer."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


_SILENCE = Said()

chunk_of = msgspec.json.Decoder(Chunk).decode
string_of = msgspec.json.Decoder(str).decode
"""Raise one of NO_JSON."""


def loose_chunk_of(data: bytes) -> Chunk | None:
    """Its texts may begin and end with half a character: a server that cuts its text by UTF-16
    escapes the halves of an emoji in two chunks. None for what is no chunk in this way, either.
    """
    try:
        return msgspec.convert(json.loads(data.decode("utf-8", "surrogatepass")), Chunk)
    except (*NO_JSON, ValueError):
        return None


def said_in(choice: Choice, *, whole: bool = False) -> Said:
    """`whole`: the message, too, if there is no delta. Raises UpstreamBadResponse."""
    said = choice.delta or (whole and choice.message)
    if type(said) is Said:
        return said
    if said:
        raise UpstreamBadResponse("a delta that is a list")
    return Said(content=choice.text) if choice.text else _SILENCE


def error_in(error: object, x_groq: object) -> object:
    """What a chunk says that failed, of its two fields; what is empty is none."""
    return error or (isinstance(x_groq, dict) and x_groq.get("error"))


def arguments_of(function: Function) -> str:
    """Some servers send the object itself."""
    given = function.arguments
    return given if isinstance(given, str) else "" if given is None else json.dumps(given)


def usage_of(usage: object) -> Usage | None:
    """None for what cannot be counted with: no answer shall fail for its bill."""
    match usage:
        case {"prompt_tokens": given, "completion_tokens": made, **more}:
            return Usage.counted(given, made, more.get("total_tokens"))
        case _:
            return None


def text_and_thought(parts: Iterable[object]) -> tuple[str, str]:
    """Of a content that is a list. Raises UpstreamBadResponse for parts without a type."""
    text, thought = [], []
    for part in parts:
        match part:
            case str() | {"type": "text" | "output_text", "text": str()}:
                text.append(words_in(part))
            case {"type": "refusal", "refusal": str(refusal)}:
                text.append(refusal)
            case {"type": "thinking" | "reasoning" | "reasoning_text" | "summary_text"}:
                thought.append(words_in(part))
            case {"type": str()}:
                pass
            case _:
                raise UpstreamBadResponse("a part of a content that has no type")
    return "".join(text), "".join(thought)


def words_in(value: object) -> str:
    """The text of a part, of several, or of a part's parts."""
    match value:
        case str():
            return value
        case list():
            return "".join(map(words_in, value))
        case Mapping():
            names = ("text", "thinking", "reasoning", "reasoning_text", "summary", "content")
            return next(filter(None, (words_in(value.get(name)) for name in names)), "")
        case _:
            return ""
