"""A response's head, without looking anew at what each response says.

uvicorn checks every field of every response with two patterns, and most of ours are always the
same.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import starmap
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn._types import ASGISendEvent

_NEEDED = ("HEADER_RE", "HEADER_VALUE_RE", "STATUS_LINE")
KNOWN = all(hasattr(httptools_impl, name) for name in _NEEDED)
"""What uvicorn keeps to itself may change; then it writes each head."""
_BODILESS = (204, 304)
_FRAMING = (b"content-length", b"transfer-encoding", b"connection")


class _Field(NamedTuple):
    """`framing`: its name and its value, if it says how the body is sent."""

    line: bytes
    framing: tuple[bytes, bytes] | None


_line, _framing = itemgetter(0), itemgetter(1)


class Cycle(RequestResponseCycle):
    async def send(self, message: ASGISendEvent) -> None:
        if (
            message["type"] != "http.response.start"
            or self.response_started
            or self.access_log
            or self.flow.write_paused
            or self.disconnected
            or not self._begin(message["status"], message.get("headers", ()))
        ):
            await super().send(message)

    def _begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Writes the head as uvicorn does. False: nothing is done, as it must or refuses to."""
        # Some fifteen fields, of which one or two are looked at: no line of ours runs for each.
        fields: list[Any] = list(starmap(_field, (*self.default_headers, *headers)))
        if None in fields:
            return False
        length: int | None = None
        closes = False
        for name, value in filter(None, map(_framing, fields)):
            if name == b"connection":
                closes = closes or b"close" in map(bytes.strip, value.lower().split(b","))
            elif name == b"content-length" and self.chunked_encoding is None and value.isdigit():
                length = int(value) if length is None else length
            else:
                return False
        lines = [httptools_impl.STATUS_LINE[status], *map(_line, fields)]
        bodiless = status in _BODILESS or self.scope["method"] == "HEAD"
        self.keep_alive = self.keep_alive and not closes
        if not (self.keep_alive or closes):
            lines.append(b"connection: close\r\n")
        if length is not None:
            self.chunked_encoding, self.expected_content_length = False, length
        elif self.chunked_encoding is None and not bodiless:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self.response_started, self.waiting_for_100_continue = True, False
        self.transport.write(b"".join(lines))
        return True


@lru_cache(maxsize=256)
def _field(name: bytes, value: bytes) -> _Field | None:
    """None for what uvicorn refuses."""
    if httptools_impl.HEADER_RE.search(name) or httptools_impl.HEADER_VALUE_RE.search(value):
        return None
    name = name.lower()
    framing = (name, value) if name in _FRAMING else None
    return _Field(b"".join((name, b": ", value, b"\r\n")), framing)
