"""The wire form of the event alphabet: the only module that knows its names.

The log stores it and the SSE route sends it, so a frame is built once, where an event enters
the log. Only `json`'s C string encoder touches a token: this runs once per token.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.domain.events import (
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)

BEGINNING = Cursor(1, 0)
KEEPALIVE = b"event: keepalive\ndata: {}\n\n"
MAX_TOKEN = 64 * 1024
"""Bytes of content in one token frame, coalesced or not."""
LONGEST = MAX_TOKEN // 4
"""Characters of a token that is as short as that, whatever they are."""

_STATUS: dict[type, str] = {
    StageStarted: "started",
    StageCompleted: "completed",
    StageFailed: "failed",
}
_STAGES: dict[str, Callable[..., Event]] = {name: kind for kind, name in _STATUS.items()}


def split(token: Token) -> list[Token]:
    content = token.content
    starts = range(0, len(content), LONGEST)
    return [Token(content[start : start + LONGEST], token.node) for start in starts]


def compact(data: object) -> str:
    """JSON without spaces, in raw Unicode, on one line."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def record(cursor: Cursor, event: Event) -> Recorded:
    """Raises UnicodeEncodeError if a text holds a lone surrogate."""
    name, data = encode(event)
    frame = f"event: {name}\nid: {cursor[0]}-{cursor[1]}\ndata: {data}\n\n"
    return Recorded(cursor, event, frame.encode())


def encode(event: Event) -> tuple[str, str]:
    """The event's name and its data as JSON."""
    if isinstance(event, Token):  # first, and without a pattern: nearly every event is one
        return "token", f'{{"content":{quoted(event.content)},"node":{quoted(event.node)}}}'
    match event:
        case StageStarted() | StageCompleted() | StageFailed():
            stage = {
                "stage": event.stage,
                "status": _STATUS[type(event)],
                "progress": event.progress,
            }
            return "stage", compact(_with(stage, message=event.message))
        case Reset(reason):
            return "reset", compact({"reason": reason})
        case Done():
            return "done", compact(_done(event))
        case Failed(code, message, retryable, request_id):
            failed = {"status": "failed", "code": code, "message": message}
            return "error", compact({**failed, "retryable": retryable, "request_id": request_id})
        case Cancelled(reason):
            return "cancelled", compact({"status": "cancelled", "reason": reason})


def decode(name: str, data: str | bytes) -> Event:
    """The event that `encode` made these of."""
    fields = json.loads(data)
    match name:
        case "token":
            return Token(fields["content"], fields["node"])
        case "stage":
            kind = _STAGES[fields["status"]]
            return kind(fields["stage"], fields["progress"], fields.get("message"))
        case "reset":
            return Reset(fields["reason"])
        case "done":
            usage = fields.get("usage")
            return Done(
                path=fields["path"],
                answer=fields["answer"],
                intent=fields.get("intent"),
                finish_reason=fields["finish_reason"],
                usage=usage and _usage_of(usage),
                offline_model=fields.get("offline_model", False),
            )
        case "error":
            return Failed(
                fields["code"], fields["message"], fields["retryable"], fields["request_id"]
            )
        case "cancelled":
            return Cancelled(fields["reason"])
        case _:
            raise ValueError(f"no such event: {name}")


def _usage_data(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


def _usage_of(data: dict[str, int]) -> Usage:
    return Usage(data["input_tokens"], data["output_tokens"], data["total_tokens"])


def coalesce(batch: Sequence[Recorded]) -> Sequence[Recorded]:
    """Joins consecutive tokens of one node and attempt, up to MAX_TOKEN, under the last id."""
    if len(batch) < 2:
        return batch
    joined: list[Recorded] = []
    run: list[Recorded] = []
    size = 0
    for recorded in batch:
        event = recorded.event
        # A frame is longer than its content by at least 36 bytes: a bound without encoding.
        weight = len(recorded.frame) - 36
        fits = (
            run
            and isinstance(event, Token)
            and event.node == run[0].event.node  # type: ignore[union-attr]
            and recorded.id.attempt == run[0].id.attempt
            and size + weight <= MAX_TOKEN
        )
        if run and not fits:
            joined.append(_joined(run))
            run, size = [], 0
        if isinstance(event, Token):
            run.append(recorded)
            size += weight
        else:
            joined.append(recorded)
    if run:
        joined.append(_joined(run))
    return joined


def _joined(run: list[Recorded]) -> Recorded:
    if len(run) == 1:
        return run[0]
    tokens = [recorded.event for recorded in run]
    content = "".join(token.content for token in tokens if isinstance(token, Token))
    return record(run[-1].id, Token(content, tokens[0].node))  # type: ignore[union-attr]


def _done(event: Done) -> dict[str, Any]:
    answer = event.answer.encode()
    data = {"status": "completed", "path": event.path, "answer": event.answer}
    data |= _with({}, intent=event.intent)
    data["finish_reason"] = event.finish_reason  # type: ignore[assignment]
    return _with(
        data,
        usage=event.usage and _usage_data(event.usage),
        length=len(event.answer),
        sha256=sha256(answer).hexdigest(),
        offline_model=event.offline_model or None,
    )


def _with(data: dict[str, Any], **optional: object) -> dict[str, Any]:
    return data | {name: value for name, value in optional.items() if value is not None}
