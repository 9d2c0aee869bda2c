"""What a call is asked, and what is made of its answer when it is complete."""

import re
from contextlib import suppress
from typing import Any, NamedTuple, cast

import msgspec
from openai import pydantic_function_tool
from pydantic import BaseModel, ValidationError

from sluice.domain.errors import CutOutput, Unusable, UnusableOutput
from sluice.domain.ports import Prompt, S, Schema, ToolCall

from .chunks import NO_JSON
from .decoding import Delta, ToolCallPart
from .json_text import json_texts

SILENT = "nostream"
"""LangGraph's tag for a call whose tokens are not for the user."""

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64
_CUT = ("length", "max_tokens", "MAX_TOKENS")


def messages_of(prompt: Prompt, system: str | None) -> list[dict[str, Any]]:
    said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    told = [] if system is None else [{"role": "system", "content": system}]
    return [*told, *map(dict, said)]


def response_format(schema: type[Schema]) -> dict[str, Any]:
    """A Pydantic model as the API's strict JSON schema."""
    function = pydantic_function_tool(cast("type[BaseModel]", schema))["function"]
    name = _NOT_IN_A_NAME.sub("_", schema.__name__)[:_LONGEST_NAME]
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "strict": True, "schema": function["parameters"]},
    }


def validated(schema: type[S], text: str, finish_reason: str | None) -> S:
    """Raises UnusableOutput, or CutOutput where the model's limit is to blame."""
    for candidate in json_texts(text):
        with suppress(ValidationError):
            return schema.model_validate_json(candidate)
    raise _unusable(finish_reason)


def json_object(text: str, finish_reason: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except NO_JSON as error:
        raise _unusable(finish_reason) from error
    if not isinstance(value, dict):
        raise _unusable(finish_reason)
    return value


def tool_call(name: str, arguments: str, finish_reason: str | None) -> ToolCall:
    """Some servers send no arguments at all for a tool that takes none, or a null; some begin
    with an empty object, behind which the arguments come.
    """
    given = arguments.strip()
    given = "{}" if given in ("", "null") else given.removeprefix("{}") or given
    return ToolCall(name, json_object(given, finish_reason))


def _unusable(finish_reason: str | None) -> Unusable:
    """Broken because it was cut short, or broken by itself."""
    return CutOutput() if finish_reason in _CUT else UnusableOutput()


class Output(NamedTuple):
    """What the model said: a text, or the arguments of the tool it called."""

    text: str
    arguments: str | None
    finish_reason: str | None


class Answer:
    """The deltas of one call, joined; `say` takes one that is its text alone."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.say = self._texts.append
        self._parts: list[ToolCallPart] = []
        self._finish_reason: str | None = None

    def add(self, delta: Delta) -> None:
        if delta.text:
            self._texts.append(delta.text)
        self._parts += delta.tool_calls
        self._finish_reason = delta.finish_reason or self._finish_reason

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def output(self) -> Output:
        call = self._called()
        return Output(self.text, call and call[1], self._finish_reason)

    def tool_call(self) -> ToolCall | None:
        """The first one, if the model called any."""
        call = self._called()
        return call and tool_call(*call, self._finish_reason)

    def _called(self) -> tuple[str, str] | None:
        """The first tool's name and arguments, as they came."""
        if not self._parts:
            return None
        first = min(part.number for part in self._parts)
        parts = [part for part in self._parts if part.number == first]
        name = "".join(part.name or "" for part in parts)
        return name, "".join(part.arguments for part in parts)
