"""The outermost layer of every request: its id, and what every response carries."""

import re
from asyncio import CancelledError
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice.domain.chat import new_id
from sluice.domain.errors import Unavailable
from sluice.interfaces.http.problems import answer

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PERSONAL = ("/api/", "/v1/")
"""Where paths begin whose answers are one user's, and are kept nowhere."""
SECURITY_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


class ResponseHeaders:
    """Pure ASGI, and nothing per chunk but a comparison: streams pass through here."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given_id(scope) or new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        caching = b"no-store" if scope["path"].startswith(_PERSONAL) else b"no-cache"

        def sending(message: Message) -> Any:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                if all(name != b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", caching))
                message = {**message, "headers": headers + SECURITY_HEADERS}
            return send(message)

        # It has been answered and logged without its text; the server would print that.
        with suppress(Exception):
            try:
                await self._app(scope, receive, sending)
            except CancelledError:  # by the server alone: it leaves, and has waited long enough
                response = await answer(Request(scope), Unavailable())
                await response(scope, receive, sending)  # refused behind a head: that is cut off


def _given_id(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    return given[0].decode() if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else None
