"""The shapes of a streamed answer's events, as far as they are heard: what a server puts into a
field is anything.
"""

from typing import Any

import msgspec


class Delta(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    tool_calls: Any = None
    function_call: Any = None
    error: Any = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: Delta | list[Any] | None = None
    finish_reason: Any = None
    logprobs: Any = None
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


class Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: Any = None
    item: dict[str, Any] = {}
    response: dict[str, Any] = {}
    error: Any = None
    code: Any = None
    message: Any = None


chunk_of = msgspec.json.Decoder(Chunk).decode
event_of = msgspec.json.Decoder(Event).decode
"""Raise one of msgspec's errors, UnicodeDecodeError or RecursionError."""
