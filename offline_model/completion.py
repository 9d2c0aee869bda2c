"""The objects of the chat completions protocol: chunks, whole completions, errors, models."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .replies import Delta, Usage

MODEL_ID = "sluice-offline"
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(value: object) -> bytes:
    return _JSON.encode(value).encode()


@dataclass(frozen=True, slots=True)
class Completion:
    """What all chunks of one answer share. `usage_asked`: the client wants a usage chunk."""

    id: str
    created: int
    model: str
    usage_asked: bool = False

    def chunk(self, delta: Delta, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.usage_asked else {}
        return encoded(self._object("chat.completion.chunk", choices=[choice], **usage))

    def usage_chunk(self, usage: Usage) -> bytes:
        return encoded(self._object("chat.completion.chunk", choices=[], usage=counts(usage)))

    def whole(self, deltas: Iterable[Delta], finish: str | None, usage: Usage | None) -> bytes:
        choice = {
            "index": 0,
            "message": merged(deltas),
            "logprobs": None,
            "finish_reason": finish,
        }
        counted = {"usage": counts(usage)} if usage else {}
        return encoded(self._object("chat.completion", choices=[choice], **counted))

    def _object(self, kind: str, **fields: object) -> dict[str, object]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_offline",
            **fields,
        }


def counts(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }


def merged(deltas: Iterable[Delta]) -> dict[str, Any]:
    """The message that the deltas add up to."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        for name, value in delta.items():
            if name == "tool_calls":
                _merge_calls(calls, value)
            elif isinstance(value, str) and name != "role":
                message[name] = (message.get(name) or "") + value
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def _merge_calls(calls: dict[int, dict[str, Any]], parts: Iterable[Mapping[str, Any]]) -> None:
    for part in parts:
        call = calls.setdefault(
            part["index"],
            {"id": None, "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = part.get("id", call["id"])
        for name, value in part.get("function", {}).items():
            call["function"][name] += value


def error(
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> bytes:
    return encoded({"error": {"message": message, "type": kind, "param": param, "code": code}})


def models() -> dict[str, object]:
    return {"object": "list", "data": [model(MODEL_ID)]}


def model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "sluice"}
