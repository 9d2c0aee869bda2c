"""The first try of a call: sent past the SDK, with the head that the SDK has made for another.

From settings that stay as they are the SDK makes options, URL, headers and request of each call
anew, which is a tenth of what an answer costs. Here only the body is new. What such a try comes to,
if it is no 200, is what the SDK's own first try comes to: whether another follows, when, and with
which error a call ends is said by the SDK alone.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from json import JSONEncoder
from typing import Any, NamedTuple

import httpx2

Outcome = httpx2.Response | httpx2.RequestError
Send = Callable[[httpx2.Request], Awaitable[httpx2.Response]]

_outcomes: ContextVar[list[Outcome]] = ContextVar("_outcomes")

json_of = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
"""As the SDK writes a body. Raises TypeError and ValueError for what only the SDK may know."""


class _Sent(NamedTuple):
    """What the SDK's aiohttp transport reads of a request."""

    url: str
    headers: dict[str, str]
    extensions: dict[str, Any]
    content: bytes
    method: str = "POST"


class Head:
    """All of a request of the SDK but its body."""

    def __init__(self, request: httpx2.Request) -> None:
        self.url, self._timeout = request.url, request.extensions["timeout"]
        self._headers = request.headers.copy()
        del self._headers["content-length"]
        self._sent = str(self.url), dict(self._headers), request.extensions

    def sent(self, body: bytes) -> Any:
        """The request as its transport alone reads it."""
        return _Sent(*self._sent, body)

    def request(self, body: bytes, cookies: httpx2.Cookies) -> httpx2.Request:
        request = httpx2.Request(
            "POST",
            self.url,
            headers=self._headers,
            cookies=cookies,
            stream=httpx2.ByteStream(body),
            extensions={"timeout": self._timeout},
        )
        request.headers.encoding = self._headers.encoding  # else it is found out once more
        request.headers["content-length"] = str(len(body))
        request.read()
        return request


async def first_try(http: httpx2.AsyncClient, head: Head, body: bytes) -> Outcome:
    try:
        return await http.send(head.request(body, http.cookies), stream=True)
    except httpx2.RequestError as failure:
        return failure


async def bare_first_try(http: httpx2.AsyncClient, head: Head, body: bytes) -> Outcome:
    """The same past httpx2's client, where all that it adds is what nobody looks at: an answer has
    no request. What is done for a response that fails is done by the SDK's own first try.
    """
    chosen = getattr(http, "_transport_for_url", None)
    transport: Any = None if chosen is None else chosen(head.url)
    hooks = http.event_hooks["request"]
    if hooks or http.cookies or http.is_closed or not hasattr(transport, "get_client"):
        return await first_try(http, head, body)
    try:
        response: httpx2.Response = await transport.handle_async_request(head.sent(body))
    except httpx2.RequestError as failure:
        return failure
    if "set-cookie" in response.headers:
        response.request = head.request(body, http.cookies)
        http.cookies.extract_cookies(response)
    return response


def answer_in(outcome: Outcome) -> httpx2.Response | None:
    """Any other status than 200 is the SDK's to judge."""
    if isinstance(outcome, httpx2.Response) and outcome.status_code == 200:
        return outcome
    return None


@asynccontextmanager
async def handed(outcome: Outcome | None) -> AsyncGenerator[None, None]:
    """In here the next request is not sent by a transport that takes outcomes: this is its own."""
    left = [] if outcome is None else [outcome]
    token = _outcomes.set(left)
    try:
        yield
    finally:
        _outcomes.reset(token)
        for one in left:
            if isinstance(one, httpx2.Response):
                await one.aclose()


def take_outcomes(transport: Any) -> None:
    transport.handle_async_request = partial(_outcome_of, transport.handle_async_request)


async def _outcome_of(send: Send, request: httpx2.Request) -> httpx2.Response:
    handed = _outcomes.get(None)
    if not handed:
        return await send(request)
    outcome = handed.pop()
    if isinstance(outcome, httpx2.RequestError):
        raise outcome
    return outcome
