"""The event codec: every event as a name and JSON fields, and back. Stores keep this form.

`FORMS` is the one place that holds the events' names and their ends' statuses. A new event needs
its class in `domain/events.py` and a line here; `tests/unit/test_alphabet.py` names what else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.events import (
    Cancelled,
    Data,
    Done,
    Event,
    Failed,
    NeedsInput,
    Reasoning,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Tool,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Form:
    """`fields` in the order of the wire contract; `status`: what a field of that name says.

    Of an `optional` field nothing is written where it is None or False.
    """

    name: str
    fields: tuple[str, ...]
    optional: frozenset[str]
    status: str | None


def _form(name: str, fields: str, status: str | None = None) -> Form:
    """A field with a question mark is optional."""
    written = fields.split()
    optional = frozenset(field[:-1] for field in written if field.endswith("?"))
    return Form(name, tuple(field.rstrip("?") for field in written), optional, status)


FORMS: Mapping[type[Event], Form] = {
    StageStarted: _form("stage", "stage status progress message?", "started"),
    StageCompleted: _form("stage", "stage status progress message?", "completed"),
    StageFailed: _form("stage", "stage status progress message?", "failed"),
    Token: _form("token", "content node"),
    Tool: _form("tool", "call_id name node status parent? arguments? result?"),
    Reasoning: _form("reasoning", "content node"),
    Data: _form("data", "name data node"),
    NeedsInput: _form("needs_input", "input_id prompt schema? kind expires_at"),
    Reset: _form("reset", "reason"),
    Done: _form(
        "done",
        "status path answer intent? finish_reason usage? offline_model? hint?",
        "completed",
    ),
    Failed: _form("error", "status code message retryable request_id", "failed"),
    Cancelled: _form("cancelled", "status reason", "cancelled"),
}

_ANY_JSON = (Data, NeedsInput)
"""What has more in its fields than texts and numbers."""
_KINDS = {(form.name, form.status): (kind, form) for kind, form in FORMS.items()}


def encode(event: Event) -> tuple[str, str]:
    """The event's name and its fields as JSON."""
    return FORMS[type(event)].name, compact(fields_of(event))


def decode(name: str, data: str | bytes) -> Event:
    """The event that `encode` made these of; raises as `event_of` does."""
    return event_of(name, json.loads(data))


def fields_of(event: Event) -> dict[str, Any]:
    """What JSON can say, in the order of the contract."""
    form = FORMS[type(event)]
    fields: dict[str, Any] = {}
    for name in form.fields:
        if name == "status" and form.status is not None:
            fields[name] = form.status
            continue
        value = getattr(event, name)
        if name in form.optional and (value is None or value is False):
            continue
        fields[name] = _fields_of_usage(value) if isinstance(value, Usage) else value
    return fields


def _fields_of_usage(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in _names(Usage)}


def event_of(name: str, fields: Mapping[str, Any]) -> Event:
    """Without what a newer version may have added.

    Raises ValueError, TypeError or LookupError for what is no event.
    """
    if not isinstance(fields, Mapping):
        raise TypeError(f"not the fields of an event: {name}")
    found = _KINDS.get((name, fields.get("status"))) or _KINDS.get((name, None))
    if found is None:
        raise ValueError(f"no such event: {name}")
    kind, form = found
    given = {
        field: fields[field]
        for field in form.fields
        if field in fields and not (field == "status" and form.status is not None)
    }
    if usage := given.get("usage"):
        given["usage"] = Usage(*(usage[field] for field in _names(Usage)))
    return kind(**given)


def require_encodable(event: Event) -> None:
    """Raises UnicodeEncodeError if a text holds a lone surrogate, which UTF-8 cannot say."""
    if type(event) is Token:  # nearly every event is one, and nearly every text ASCII
        if not event.content.isascii() or not event.node.isascii():
            f"{event.content}{event.node}".encode()
    elif isinstance(event, _ANY_JSON):
        encode(event)[1].encode()
    else:
        for name in event.__match_args__:
            value = getattr(event, name)
            if isinstance(value, str) and not value.isascii():
                value.encode()


@cache
def _names(kind: type) -> tuple[str, ...]:
    names: tuple[str, ...] = kind.__match_args__  # type: ignore[attr-defined]
    return names
