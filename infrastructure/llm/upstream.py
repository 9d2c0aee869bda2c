"""The upstream: where it is, how long it may take, and one streamed call to it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import aiohttp
import httpx2
from openai import AsyncOpenAI, AsyncStream, DefaultAioHttpClient
from openai._base_client import get_platform

from sluice.application.model_calls import current_node
from sluice.domain.chat import now
from sluice.domain.errors import (
    AnswerTooLarge,
    UpstreamBadResponse,
    UpstreamTimeout,
    UpstreamTruncated,
)
from sluice.domain.events import Usage

from .deadline import Deadline
from .decoding import Delta, DeltaDecoder
from .openai_errors import BROKEN_BODY, UPSTREAM_FAILURES, of_failure

_KEEPALIVE_SECONDS = 30.0
_UNLIMITED = 0
"""As aiohttp says it (None would mean its default of 100 to the SDK's transport, and calls would
queue in silence): how many jobs run at once is bounded elsewhere."""
_TAIL_SECONDS = 1.0
"""How long after its finish reason an answer may go on, with its usage and its end."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An OpenAI-compatible API, and the deadlines of a call to it in seconds.

    `first_token` spans the whole call until its first token, retries and waits included;
    `retries` are tries after the first. `max_answer`: bytes of UTF-8 that one call may say.
    """

    base_url: str | None
    api_key: str = field(repr=False)
    model: str
    connect_timeout: float = 5
    first_token_timeout: float = 30
    idle_timeout: float = 30
    retries: int = 2
    max_answer: int = 4 * 1024 * 1024


class ChatCompletions:
    """Streamed chat completions over the official SDK, for both model clients.

    The SDK connects, authenticates, retries and types the errors; the body is read past it.
    Built without I/O; whoever built it awaits `aclose`.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._client = AsyncOpenAI(
            base_url=upstream.base_url,
            api_key=upstream.api_key,
            max_retries=upstream.retries,
            http_client=_http_client(upstream),
        )
        # Else its first request waits for a thread of the loop's default executor, of which a
        # user's nodes may hold all.
        self._client._platform = get_platform()

    async def aclose(self) -> None:
        await self._client.close()

    def call(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> "Call":
        """A call that nothing is sent of before its deltas are asked for.

        It asks the job's own model if `options` name none.
        """
        # Real servers refuse a null where a setting is meant to be left out.
        given = {key: value for key, value in options.items() if value is not None}
        return Call(self._client, self._upstream, {"messages": messages, **given})


class Call:
    """One streamed call; `usage` and `finish_reason` are what it has said of itself so far."""

    def __init__(self, client: AsyncOpenAI, upstream: Upstream, body: dict[str, Any]) -> None:
        self._client, self._upstream, self._body = client, upstream, body
        self.usage: Usage | None = None
        self.finish_reason: str | None = None

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Ends only after a finish reason, else raises UpstreamTruncated or what went wrong.

        Closing it closes the connection. To be called once.
        """
        decoder, size = DeltaDecoder(), 0
        deadline = Deadline(self._upstream.first_token_timeout)
        begun = ended = False
        try:
            response = await self._open(deadline)
            async with aclosing(response), _reads_of(response) as read:
                while data := await _next(read, deadline, decoder):
                    for delta in decoder.feed(data):
                        if not begun and (delta.text or delta.tool_calls or delta.finish_reason):
                            begun = True
                            deadline.allow(self._upstream.idle_timeout, each_wait=True)
                        if delta.finish_reason or delta.usage:
                            self._note(delta)
                        text = delta.text
                        size += len(text) if text.isascii() else len(text.encode())
                        if size > self._upstream.max_answer:
                            raise AnswerTooLarge  # also where nobody hears the tokens, as in A1
                        yield delta
                    if decoder.finished and not ended:
                        ended = True
                        deadline.allow(_TAIL_SECONDS, each_wait=False)
            if not decoder.finished:
                raise UpstreamTruncated("no finish reason")
        finally:
            deadline.close()

    def _note(self, delta: Delta) -> None:
        self.usage = delta.usage or self.usage
        self.finish_reason = delta.finish_reason or self.finish_reason

    async def _open(self, deadline: Deadline) -> httpx2.Response:
        calling = _calling.set(deadline)
        try:
            with deadline:
                stream = await self._client.post(
                    "/chat/completions",
                    body={
                        "model": _model_of_job() or self._upstream.model,
                        **self._body,
                        "stream": True,
                        "stream_options": {"include_usage": True},
                    },
                    cast_to=object,
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure
        finally:
            _calling.reset(calling)
        return stream.response


Read = Callable[[], Awaitable[bytes]]
"""The next bytes of a body, none at its end."""


@asynccontextmanager
async def _reads_of(response: httpx2.Response) -> AsyncGenerator[Read, None]:
    """Straight from aiohttp where there is nothing to decode.

    The SDK's transport and httpx2 would pass each read through five more generators: a tenth of
    a token's cost. What they keep to themselves may change; then their own way is taken.
    """
    content_type, _, _ = response.headers.get("content-type", "").partition(";")
    if content_type.strip().lower() != "text/event-stream":
        raise UpstreamBadResponse("no event stream")
    if (body := plain_body(response)) is not None:
        yield body.readany
        return
    async with aclosing(response.aiter_bytes()) as reads:
        yield lambda: anext(reads, b"")


def plain_body(response: httpx2.Response) -> aiohttp.StreamReader | None:
    """What the SDK's aiohttp transport reads from, if its bytes are the body's own."""
    below = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    if isinstance(below, aiohttp.ClientResponse) and "content-encoding" not in response.headers:
        return below.content
    return None


async def _next(read: Read, deadline: Deadline, decoder: DeltaDecoder) -> bytes:
    """Nothing at the end, also when a finished answer's connection breaks or stays open."""
    try:
        with deadline:
            return await read()
    except UpstreamTimeout:
        if not decoder.finished:
            raise
    except BROKEN_BODY as failure:
        if not decoder.finished:
            raise of_failure(failure) from failure
    return b""


def _model_of_job() -> str | None:
    node = current_node.get()
    return node.calls.model if node else None


def _http_client(upstream: Upstream) -> httpx2.AsyncClient:
    """The SDK's aiohttp transport: per token it takes little more than half of httpx2's time."""
    return DefaultAioHttpClient(
        # Everything but connecting is timed by Deadline, over the call as a whole.
        timeout=httpx2.Timeout(None, connect=upstream.connect_timeout),
        limits=httpx2.Limits(max_connections=_UNLIMITED, keepalive_expiry=_KEEPALIVE_SECONDS),
        # A redirect would carry the whole prompt to wherever it points.
        follow_redirects=False,
        # HTTP_PROXY without NO_PROXY must not lead the offline model's calls astray.
        trust_env=not _on_this_machine(upstream.base_url),
        event_hooks={"response": [_refuse_hopeless_wait]},
    )


def _on_this_machine(base_url: str | None) -> bool:
    host = httpx2.URL(base_url or "").host
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


_calling: ContextVar[Deadline] = ContextVar("_calling")


async def _refuse_hopeless_wait(response: httpx2.Response) -> None:
    """Keeps the SDK from waiting for a retry when that can only end in a timeout."""
    if _retry_after(response.headers) >= _calling.get().remaining:
        response.headers["x-should-retry"] = "false"


def _retry_after(headers: httpx2.Headers) -> float:
    """In seconds, as the SDK reads it: milliseconds, else seconds, else a date; 0 without."""
    with suppress(KeyError, ValueError):
        return float(headers["retry-after-ms"]) / 1000
    with suppress(KeyError, ValueError):
        return float(headers["retry-after"])
    with suppress(KeyError, ValueError, TypeError):
        return (parsedate_to_datetime(headers["retry-after"]) - now()).total_seconds()
    return 0
