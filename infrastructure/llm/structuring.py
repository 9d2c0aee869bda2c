"""How a model is brought to answer in a structure: by a format, by a tool, or in words.

Not every OpenAI-compatible server takes a `response_format`, and some take it and do nothing.
What does not help is remembered, so that it costs one call and not one each time.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from openai import pydantic_function_tool
from pydantic import BaseModel

from sluice.domain.errors import UnusableOutput, UpstreamError
from sluice.domain.ports import S, Schema

from .answers import Output, response_format, validated
from .json_text import holds_json
from .refusals import RESPONSE_FORMAT, TOOLS, refuses

Messages = Sequence[Mapping[str, Any]]


Ask = Callable[[Messages, Mapping[str, Any]], Awaitable[Output]]
"""Makes a silent call with these messages and options of the API."""


async def structured(schema: type[S], messages: Messages, ask: Ask, unheeded: set[str]) -> S:
    """`unheeded` is what this model is known not to heed, and learns more.

    Raises UnusableOutput or CutOutput when the answer is of another structure, and what the
    calls raise.
    """
    refused: set[str] = set()
    ignored: set[str] = set()
    for way, asking in _WAYS.items():
        if way in unheeded:
            continue
        try:
            output = await ask(*asking(schema, messages))
        except UpstreamError as error:
            if way == _IN_WORDS or not refuses(error, way):
                raise
            refused.add(way)
            continue
        unheeded |= refused
        try:
            value = validated(schema, output.arguments or output.text, output.finish_reason)
        except UnusableOutput:
            if way == _IN_WORDS or output.arguments or holds_json(output.text):
                raise
            ignored.add(way)
            continue
        unheeded |= ignored
        return value
    raise UnusableOutput  # never: words are never unheeded


Asked = tuple[Messages, Mapping[str, Any]]


def _by_format(schema: type[Schema], messages: Messages) -> Asked:
    return messages, {"response_format": response_format(schema)}


def _by_tool(schema: type[Schema], messages: Messages) -> Asked:
    """Without `strict`, which such servers do not know."""
    function = dict(pydantic_function_tool(cast("type[BaseModel]", schema))["function"])
    function["name"] = response_format(schema)["json_schema"]["name"]
    del function["strict"]
    choice = {"type": "function", "function": {"name": function["name"]}}
    return messages, {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": choice,
    }


def _in_words(schema: type[Schema], messages: Messages) -> Asked:
    """In the system message: strict chat templates take only one, as the first."""
    wanted = json.dumps(schema.model_json_schema(), ensure_ascii=False)
    rule = f"Answer with one JSON object of this JSON schema, and nothing else:\n{wanted}"
    match messages:
        case [{"role": "system", "content": str(system)}, *rest]:
            return [{"role": "system", "content": f"{system}\n\n{rule}"}, *rest], {}
        case _:
            return [{"role": "system", "content": rule}, *messages], {}


_IN_WORDS = "words"
_WAYS = {RESPONSE_FORMAT: _by_format, TOOLS: _by_tool, _IN_WORDS: _in_words}
"""In the order in which they are tried."""
