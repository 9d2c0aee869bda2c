"""What the offline model answers: pure functions of the request's body, without a language model.

Only the server may import this package: everybody else meets it through the protocol.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .choosing import best_tool
from .filling import filled
from .language import pieces
from .passages import without_passages
from .speaking import said, text_of, thought_of

__all__ = ["Answer", "BadSchemaError", "answer", "pieces", "prompt_tokens"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Text, or a call of the tool with that name; `thought` goes before either."""

    text: str = ""
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None
    thought: str = ""


class BadSchemaError(Exception):
    """The request's JSON schema cannot be read."""


def answer(body: Mapping[str, Any]) -> Answer:
    """Raises BadSchemaError."""
    messages = body["messages"]
    question = next((text_of(m) for m in reversed(messages) if m["role"] == "user"), "")
    message = without_passages(question) or question
    guide = "\n".join(text_of(m) for m in messages if m["role"] in ("system", "developer"))
    thought = _thought(body, message)
    if call := _tool_call(body, message, guide):
        return replace(call, thought=thought)
    match (body.get("response_format") or {}).get("type"):
        case "json_schema":
            schema = body["response_format"]["json_schema"].get("schema") or {}
            return Answer(_json(_filled(schema, message, guide)))
        case "json_object":
            return Answer(_json({"answer": said(messages, message)}))
    return Answer(said(messages, message), thought=thought)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    return sum(len(pieces(text_of(message))) for message in body["messages"])


def _thought(body: Mapping[str, Any], message: str) -> str:
    """Only who asks for reasoning gets any."""
    if body.get("reasoning_effort") in (None, "none"):
        return ""
    answered = body["messages"][-1]["role"] == "tool"
    return thought_of(message, answered=answered)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _filled(schema: Mapping[str, Any], message: str, guide: str) -> Any:
    try:
        return filled(schema, message, guide)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as problem:
        raise BadSchemaError from problem  # a schema is arbitrary input


def _tool_call(body: Mapping[str, Any], message: str, guide: str) -> Answer | None:
    """None when no tool is wanted, or one has just answered."""
    choice = body.get("tool_choice", "auto")
    functions = [tool["function"] for tool in body.get("tools", ())]
    if choice == "none" or body["messages"][-1]["role"] == "tool":
        return None
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        functions = [function for function in functions if function["name"] == name]
    function = best_tool(message, functions, required=choice != "auto")
    if function is None:
        return None
    arguments = _filled({"type": "object", **function.get("parameters", {})}, message, guide)
    return Answer(tool=function["name"], arguments=arguments)
