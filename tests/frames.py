"""Native frames, read as a client reads them."""

import httpx2

from sluice.application.codec import decode
from sluice.domain.events import Cursor, Recorded


def parsed(body: bytes) -> list[httpx2.ServerSentEvent]:
    """What a client that follows the SSE standard reads; httpx2's parser, not ours."""
    request = httpx2.Request("GET", "http://sluice.test/")
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    response = httpx2.Response(200, headers=headers, content=body, request=request)
    return list(httpx2.EventSource(response))


def recorded_in(body: bytes) -> list[Recorded]:
    found = []
    for read in parsed(body):
        attempt, seq = map(int, read.id.split("-"))
        found.append(Recorded(Cursor(attempt, seq), decode(read.event, read.data)))
    return found
