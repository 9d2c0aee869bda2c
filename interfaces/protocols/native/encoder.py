"""An event as the native SSE frame: `event`, `id`, `data`, and an empty line.

Only `json`'s C string encoder touches a token: this runs once per token.
"""

from hashlib import sha256
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.codec import FORMS, fields_of
from sluice.application.compact_json import compact
from sluice.domain.chat import Job
from sluice.domain.events import BEGINNING, Cursor, Done, Event, Recorded, Token
from sluice.interfaces.protocols.frames import escaped

_TOKEN = FORMS[Token].name
KEEPALIVE = b"event: keepalive\ndata: {}\n\n"


class NativeEncoder:
    """Has no state: a frame says nothing but its event."""

    initial = None
    joins_tokens = True

    def encode(
        self, _state: None, _before: Cursor, recorded: Recorded, /
    ) -> tuple[None, tuple[bytes]]:
        """Raises UnicodeEncodeError if a text holds a lone surrogate."""
        (attempt, seq), event = recorded
        if type(event) is Token:  # first, and all at once: nearly every event is one
            content, node = quoted(event.content), quoted(event.node)
            frame = (
                f"event: {_TOKEN}\nid: {attempt}-{seq}\n"
                f'data: {{"content":{content},"node":{node}}}\n\n'
            )
            return None, ((frame if frame.isascii() else escaped(frame)).encode(),)
        name, data = FORMS[type(event)].name, compact(data_of(event))
        if not data.isascii():
            data = escaped(data)
        return None, (f"event: {name}\nid: {attempt}-{seq}\ndata: {data}\n\n".encode(),)


NATIVE = NativeEncoder()


def encoder_for(_job: Job) -> NativeEncoder:
    return NATIVE


def frame(recorded: Recorded) -> bytes:
    return NATIVE.encode(None, BEGINNING, recorded)[1][0]


def data_of(event: Event) -> dict[str, Any]:
    """The fields of the contract: what is stored, and of an answer what it can be checked by."""
    fields = fields_of(event)
    if not isinstance(event, Done):
        return fields
    answer = event.answer
    last = {name: fields.pop(name) for name in ("offline_model", "hint") if name in fields}
    fields |= {"length": len(answer), "sha256": sha256(answer.encode()).hexdigest()}
    return fields | last
