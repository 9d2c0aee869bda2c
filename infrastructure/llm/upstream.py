"""The upstream: where it is, how long it may take, and one streamed call to it."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from openai import AsyncOpenAI, AsyncStream, OpenAIError

from application.model_calls import current_node
from domain.chat import now
from domain.errors import (
    UpstreamBadResponse,
    UpstreamTimeout,
    UpstreamTruncated,
)

from .deadline import Deadline
from .decoding import Delta, DeltaDecoder
from .openai_errors import BROKEN_BODY, of_failure

_EVENT_STREAM = "text/event-stream"
_KEEPALIVE_SECONDS = 30.0
_TAIL_SECONDS = 1.0
"""How long after its finish reason an answer may go on, with its usage and its end."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An OpenAI-compatible API, and the deadlines of a call to it in seconds.

    `first_token` spans the whole call until its first token, retries and waits included;
    `retries` are tries after the first.
    """

    base_url: str | None
    api_key: str = field(repr=False)
    model: str
    connect_timeout: float = 5
    first_token_timeout: float = 30
    idle_timeout: float = 30
    retries: int = 2


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

    async def aclose(self) -> None:
        await self._client.close()

    async def stream(
        self, messages: Sequence[Mapping[str, Any]], **options: Any
    ) -> AsyncGenerator[Delta, None]:
        """The deltas of one call, in the model of the job it is made for.

        Ends only after a finish reason, else raises UpstreamTruncated or what went wrong.
        Closing it closes the connection.
        """
        deadline = Deadline(self._upstream.first_token_timeout)
        try:
            response = await self._open({"messages": messages, **options}, deadline)
            async with aclosing(response), aclosing(self._deltas(response, deadline)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            deadline.close()

    async def _open(self, body: Mapping[str, Any], deadline: Deadline) -> httpx2.Response:
        calling = _calling.set(deadline)
        try:
            with deadline:
                stream = await self._client.post(
                    "/chat/completions",
                    body={
                        "model": _model_of_job() or self._upstream.model,
                        **body,
                        "stream": True,
                        "stream_options": {"include_usage": True},
                    },
                    cast_to=object,
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
        except OpenAIError as failure:
            raise of_failure(failure) from failure
        finally:
            _calling.reset(calling)
        return stream.response

    async def _deltas(
        self, response: httpx2.Response, deadline: Deadline
    ) -> AsyncGenerator[Delta, None]:
        if response.headers.get("content-type", "").partition(";")[0].strip() != _EVENT_STREAM:
            raise UpstreamBadResponse("no event stream")
        decoder = DeltaDecoder()
        begun = ended = False
        reads = response.aiter_bytes()
        while (read := await _next(reads, deadline, decoder)) is not None:
            for delta in decoder.feed(read):
                if not begun and (delta.text or delta.tool_calls or delta.finish_reason):
                    begun = True
                    deadline.restart(self._upstream.idle_timeout)
                yield delta
            if decoder.finished and not ended:
                ended = True
                deadline.restart(_TAIL_SECONDS)
        if not decoder.finished:
            raise UpstreamTruncated("no finish reason")


async def _next(
    reads: AsyncIterator[bytes], deadline: Deadline, decoder: DeltaDecoder
) -> bytes | None:
    """None at the end, also when a finished answer's connection breaks or stays open."""
    try:
        with deadline:
            return await anext(reads, None)
    except UpstreamTimeout:
        if not decoder.finished:
            raise
    except BROKEN_BODY as failure:
        if not decoder.finished:
            raise of_failure(failure) from failure
    return None


def _model_of_job() -> str | None:
    node = current_node.get()
    return node.calls.model if node else None


def _http_client(upstream: Upstream) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        # Everything but connecting is timed by Deadline, for the call as a whole.
        timeout=httpx2.Timeout(None, connect=upstream.connect_timeout),
        # Unbounded: how many jobs run at once is bounded elsewhere, and no call may queue here.
        limits=httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        ),
        # A redirect would carry the whole prompt to wherever it points.
        follow_redirects=False,
        event_hooks={"response": [_refuse_hopeless_wait]},
    )


_calling: ContextVar[Deadline] = ContextVar("_calling")


async def _refuse_hopeless_wait(response: httpx2.Response) -> None:
    """Keeps the SDK from waiting for a retry when that can only end in a timeout."""
    wait = _retry_after(response.headers)
    if wait is not None and wait >= _calling.get().remaining:
        response.headers["x-should-retry"] = "false"


def _retry_after(headers: httpx2.Headers) -> float | None:
    if (given := headers.get("retry-after")) is None:
        return None
    try:
        return float(given)
    except ValueError:
        with suppress(ValueError):
            return (parsedate_to_datetime(given) - now()).total_seconds()
    return None
