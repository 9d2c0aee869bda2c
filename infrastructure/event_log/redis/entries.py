"""A job, and a run of consecutive events, as Redis keeps them.

A run is a JSON list of `[node, content]` for a token and `[null, name, data]` for any other
event, as the codec has it. Ids are not stored but counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

import msgspec

from sluice.application.codec import decode, encode
from sluice.application.flag_json import load_flag
from sluice.domain.chat import Job, Turn
from sluice.domain.events import Event, Token

_json = msgspec.json.Encoder(enc_hook=str).encode
"""A LangChain message's `text` is no plain string, which msgspec refuses."""


def item(event: Event) -> bytes:
    """Raises UnicodeEncodeError if a text holds a lone surrogate."""
    if isinstance(event, Token):
        return _json((event.node, event.content))
    return _json((None, *encode(event)))


def body(items: Iterable[bytes]) -> bytes:
    return b"[%b]" % b",".join(items)


def events(stored: bytes) -> Sequence[Event]:
    return [
        Token(item[1], item[0]) if len(item) == 2 else decode(item[1], item[2])
        for item in msgspec.json.decode(stored)
    ]


def dump(job: Job) -> bytes:
    return msgspec.json.encode(job)


def load(stored: bytes) -> Job:
    """Without what a newer version may have added."""
    told = msgspec.json.decode(stored)
    known = {field.name: told[field.name] for field in fields(Job) if field.name in told}
    if (history := known.get("history")) is not None:
        known["history"] = tuple(Turn(turn["role"], turn["content"]) for turn in history)
    created_at = datetime.fromisoformat(known["created_at"])
    return Job(**known | {"created_at": created_at, "flag": load_flag(known.get("flag"))})
