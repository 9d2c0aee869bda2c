"""A run of consecutive events as Redis keeps it: a JSON list of `[node, content]` for a token
and `[null, name, data]` for any other event in its wire form. Ids are not stored but counted.
"""

from collections.abc import Iterable, Sequence

import orjson

from application.wire import decode, encode
from domain.events import Event, Token


def item(event: Event) -> bytes:
    """Raises TypeError if a text holds a lone surrogate."""
    if isinstance(event, Token):
        return orjson.dumps((event.node, event.content))
    return orjson.dumps((None, *encode(event)))


def body(items: Iterable[bytes]) -> bytes:
    return b"[%b]" % b",".join(items)


def events(stored: bytes) -> Sequence[Event]:
    return [
        Token(item[1], item[0]) if len(item) == 2 else decode(item[1], item[2])
        for item in orjson.loads(stored)
    ]
