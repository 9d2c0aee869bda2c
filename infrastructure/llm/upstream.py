"""The upstream: where it is, how long it may take, and one streamed call to it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx2
from openai import AsyncOpenAI
from openai._base_client import get_platform

from sluice.application.model_calls import current_node
from sluice.domain.errors import (
    ChatError,
    UpstreamBadResponse,
    UpstreamError,
)
from sluice.domain.events import Usage

from .body import Body, body_of
from .deadline import Deadline
from .decoding import Delta
from .event_stream import begins_events
from .failures import failure_in
from .genai import Names, call_span
from .openai_errors import BROKEN_BODY, UPSTREAM_FAILURES, of_failure
from .posts import Posts
from .receiver import Hear, Receiver, Say
from .refusals import STREAM_OPTIONS, refuses
from .timeouts import StreamTimeouts
from .transport import calling, http_client

_MAX_REFUSAL_BYTES = 64 * 1024
"""Of JSON that came in a stream's place, as much is read to learn what failed."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An OpenAI-compatible API, and the deadlines of a call to it in seconds.

    `first_token` spans the whole call until its first token, retries and waits included;
    `retries` are tries after the first (SLUICE_UPSTREAM_RETRIES). `max_answer`: bytes of UTF-8 that
    one call may say.
    `piece_interval`: seconds in which the pieces for a node are joined; 0: none are.
    `genai`: the names of its span's attributes.
    """

    base_url: str | None
    api_key: str = field(repr=False)
    model: str
    connect_timeout: float = 5
    first_token_timeout: float = 30
    idle_timeout: float = 30
    retries: int = 2
    max_answer: int = 4 * 1024 * 1024
    piece_interval: float = 0.1
    genai: Names = "new"


class ChatCompletions:
    """Streamed chat completions over the official SDK, for both model clients.

    The SDK connects, authenticates, retries and types the errors; a first try is sent past it, with
    a head that it has made, and the body is read past it.
    Built without I/O; whoever built it awaits `aclose`.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        http = http_client(upstream.base_url, upstream.connect_timeout)
        self._client = AsyncOpenAI(
            base_url=upstream.base_url,
            api_key=upstream.api_key,
            max_retries=upstream.retries,
            http_client=http,
        )
        self._posts = Posts(self._client, http)
        # Else its first request waits for a thread of the loop's default executor, of which a
        # user's nodes may hold all.
        self._client._platform = get_platform()
        self._refused: set[str] = set()
        self._refused_by_model: dict[str, set[str]] = {}

    async def aclose(self) -> None:
        await self._client.close()

    def call(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> "Call":
        """A call that nothing is sent of before its deltas are asked for.

        It asks the job's own model if `options` name none.
        """
        # Real servers refuse a null where a setting is meant to be left out.
        given = {key: value for key, value in options.items() if value is not None}
        body = {"model": self._model, "messages": messages, **given}
        return Call(self._posts, self._upstream, body, self._refused)

    @property
    def piece_interval(self) -> float:
        return self._upstream.piece_interval

    @property
    def refused(self) -> set[str]:
        """What the job's model was asked for and refused so far; to be added to."""
        return self._refused_by_model.setdefault(self._model, set())

    @property
    def _model(self) -> str:
        node = current_node.get()
        return (node and node.calls.model) or self._upstream.model


class Call:
    """One streamed call, to be made once; `usage` and `finish_reason` are what it has said of
    itself so far.
    """

    def __init__(
        self, posts: Posts, upstream: Upstream, body: dict[str, Any], refused: set[str]
    ) -> None:
        self._posts, self._upstream, self._body = posts, upstream, body
        self._refused = refused
        self._receiver: Receiver | None = None

    @property
    def usage(self) -> Usage | None:
        return None if self._receiver is None else self._receiver.usage

    @property
    def finish_reason(self) -> str | None:
        return None if self._receiver is None else self._receiver.finish_reason

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """As `heard`, one by one."""
        deltas: list[Delta] = []
        async with aclosing(self.heard(deltas.append)) as turns:
            async for _ in turns:
                for delta in deltas:
                    yield delta
                deltas.clear()

    async def heard(
        self,
        hear: Hear,
        seconds: float = 0,
        *,
        by_user: bool = True,
        say: Say | None = None,
    ) -> AsyncGenerator[None, None]:
        """Gives each delta to `hear`: while this is waited for, where its bytes arrive. Yields
        when something was heard, with so many `seconds` or 64 deltas in between.

        `say` may be given the text of one that has nothing else, in place of `hear`.

        Not heard `by_user`, deltas are taken together, `piece_interval` late at most.
        Ends only after a finish reason, else raises UpstreamTruncated or what went wrong. Closing
        it closes the connection.
        """
        upstream = self._upstream
        timeouts = StreamTimeouts(upstream.first_token_timeout, upstream.idle_timeout)
        pause = 0 if by_user else upstream.piece_interval
        receiver = Receiver(hear, timeouts, upstream.max_answer, seconds, pause, say)
        self._receiver = receiver
        span = call_span(str(self._body["model"]), upstream.genai)
        try:
            response = await self._open(timeouts.deadline)
            async with aclosing(response), body_of(response) as body:
                head = await _first(response, body, timeouts)
                receiver.take(head)
                going = bool(head)
                while True:
                    if not going:
                        receiver.end()
                    if receiver.heard:
                        receiver.heard = 0
                        yield
                    receiver.check()
                    if not going:
                        break
                    going = await receiver.more(body, seconds)
            receiver.check_end()
        except ChatError as error:
            if span is not None:
                span.failed(error.code)
            raise
        finally:
            timeouts.deadline.close()
            if span is not None:
                span.end(self.usage, self.finish_reason)

    async def _open(self, deadline: Deadline) -> httpx2.Response:
        """Asks for usage, but not twice of a server that refuses to be asked."""
        options = {"stream_options": {"include_usage": True}}
        if STREAM_OPTIONS in self._refused:
            return await self._post(deadline)
        try:
            return await self._post(deadline, **options)
        except UpstreamError as error:
            if not refuses(error, STREAM_OPTIONS):
                raise
        response = await self._post(deadline)
        self._refused.add(STREAM_OPTIONS)
        return response

    async def _post(self, deadline: Deadline, **options: Any) -> httpx2.Response:
        token = calling.set(deadline)
        try:
            with deadline:
                return await self._posts.post({**self._body, "stream": True, **options})
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure
        finally:
            calling.reset(token)


async def _first(response: httpx2.Response, body: Body, timeouts: StreamTimeouts) -> bytes:
    """The first bytes of an event stream, by whatever name it is sent: they decide. Under its own
    name only a page is none, and what is encoded in a way that was not asked for.

    Raises what a JSON body says that failed, else UpstreamBadResponse.
    """
    head = await _read(body, timeouts)
    content_type, _, _ = response.headers.get("content-type", "").partition(";")
    named = content_type.strip().lower() == "text/event-stream"
    if named and "content-encoding" not in response.headers and not head.lstrip().startswith(b"<"):
        return head
    while (begins := begins_events(head)) is None and (more := await _read(body, timeouts)):
        head += more
    if begins:
        return head
    while head.lstrip().startswith((b"{", b"[")):
        if failure := failure_in(head):
            raise failure
        if len(head) > _MAX_REFUSAL_BYTES or not (more := await _read(body, timeouts)):
            break
        head += more
    raise UpstreamBadResponse("no event stream")


async def _read(body: Body, timeouts: StreamTimeouts) -> bytes:
    try:
        with timeouts.deadline:
            return await body.read()
    except BROKEN_BODY as failure:
        raise of_failure(failure) from failure
