"""Refuses what a real server would refuse, in the words of a real server."""

import json
from typing import Any

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_NEVER_NULL = (
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "tools", "tool_choice",
)  # fmt: skip


class BadRequestError(Exception):
    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


def parsed(raw: bytes) -> dict[str, Any]:
    """The body of a chat completion request. Raises BadRequestError."""
    body = _json(raw)
    for name in _NEVER_NULL:
        if name in body and body[name] is None:
            raise BadRequestError(f"Invalid type for '{name}': got null instead.", name)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequestError("you must provide a model parameter", "model")
    _check_messages(body.get("messages"))
    _check_numbers(body)
    _check_tools(body)
    _check_format(body)
    if body.get("stream_options") is not None and not body.get("stream"):
        raise BadRequestError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    return body


def _json(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
        json.dumps(body, ensure_ascii=False).encode()  # a lone surrogate gets no further
    except (ValueError, RecursionError) as problem:
        raise BadRequestError("We could not parse the JSON body of your request.") from problem
    if not isinstance(body, dict):
        raise BadRequestError("The body of your request must be a JSON object.")
    return body


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("Invalid 'messages': expected a non-empty array.", "messages")
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            raise BadRequestError(f"Invalid type for '{at}': expected an object.", at)
        if message.get("role") not in _ROLES:
            raise BadRequestError(f"Invalid value for '{at}.role'.", f"{at}.role")
        content = message.get("content")
        if content is None and message["role"] != "assistant":
            raise BadRequestError(f"Invalid value for '{at}.content': got null.", f"{at}.content")
        if not isinstance(content, str | list | None):
            raise BadRequestError(f"Invalid type for '{at}.content'.", f"{at}.content")


def _check_numbers(body: dict[str, Any]) -> None:
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name, 1)
        if type(value) is not int or value < 1:
            raise BadRequestError(f"Invalid '{name}': expected an integer of 1 or more.", name)
    if body.get("n", 1) > 1:
        raise BadRequestError("Invalid 'n': this model gives one choice only.", "n")
    temperature = body.get("temperature", 1)
    if type(temperature) not in (int, float) or not 0 <= temperature <= 2:
        raise BadRequestError(
            "Invalid 'temperature': expected a number from 0 to 2.", "temperature"
        )


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools", [])
    if not isinstance(tools, list) or not all(map(_is_function, tools)):
        raise BadRequestError("Invalid 'tools': expected an array of functions.", "tools")
    choice = body.get("tool_choice", "auto")
    named = {"type": "function", **choice} if isinstance(choice, dict) else None
    if choice not in ("auto", "none", "required") and not _is_function(named):
        raise BadRequestError("Invalid 'tool_choice'.", "tool_choice")
    if named and named["function"]["name"] not in [tool["function"]["name"] for tool in tools]:
        raise BadRequestError("'tool_choice' names no function of 'tools'.", "tool_choice")


def _is_function(tool: object) -> bool:
    match tool:
        case {"type": "function", "function": {"name": str(), **rest}}:
            return isinstance(rest.get("parameters", {}), dict)
    return False


def _check_format(body: dict[str, Any]) -> None:
    match body.get("response_format"):
        case None | {"type": "text" | "json_object"}:
            return
        case {"type": "json_schema", "json_schema": {"name": str(), **rest}}:
            if isinstance(rest.get("schema", {}), dict):
                return
    raise BadRequestError("Invalid 'response_format'.", "response_format")
