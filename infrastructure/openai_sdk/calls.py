"""One request of a user's client inside a job: how it is sent, told and limited."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import httpx2
import openai
from openai import NotGiven

from sluice.application.heard_calls import CountedCall, muted
from sluice.application.model_calls import CallTeller, NodeRun
from sluice.domain.errors import UpstreamTimeout
from sluice.infrastructure.llm.deadline import Deadline
from sluice.infrastructure.llm.first_try import Outcome, answer_in, first_try, handed, json_of
from sluice.infrastructure.llm.genai import Names
from sluice.infrastructure.llm.openai_errors import timed_out
from sluice.infrastructure.llm.refusals import STREAM_OPTIONS, refused_by

from .answers import UserCall
from .callers import Caller
from .chunks import Dicts, OneText
from .heads import Heads
from .streams import Reading, stream_class, stream_of
from .timeouts import Timeouts
from .whole_answers import whole


@dataclass(frozen=True, slots=True)
class Limits:
    """As the settings have them. Those in seconds are for calls whose user has set none;
    `max_answer` is in bytes of UTF-8, `piece_interval` is how late a call may be read that nobody
    hears, and `genai` says by which names a call is told in its span.
    """

    connect: float = 5
    first_token: float = 30
    idle: float = 30
    max_answer: int = 4 * 2**20
    piece_interval: float = 0
    genai: Names = "new"


class Request:
    """One request of a user's client inside a job; `no_usage`: clients whose server refused to
    be asked for usage. `heads`: where its first try may be made past the SDK.
    """

    def __init__(
        self,
        client: Any,
        node: NodeRun,
        options: Any,
        call: UserCall,
        by: Caller,
        limits: Limits,
        no_usage: WeakSet[Any],
    ) -> None:
        self._client, self._node, self._options = client, node, options
        self._call, self._by, self._no_usage = call, by, no_usage
        self._deadlines = limits if _untimed(client, options) else None
        call.max_answer, call.piece_interval = limits.max_answer, limits.piece_interval
        self.heads: Heads | None = None
        self._asks_usage, self._may_ask = False, True

    async def send(self, send: Any, cast_to: Any, *, stream: bool, stream_cls: Any) -> Any:
        """Of an answer that is not streamed nothing is said before its end: its first-token
        deadline spans the whole call.
        """
        timeouts = self._timeouts()
        reading = Reading(self._call, timeouts, self._node)
        if timeouts.first_token is None:
            return await self._sent(send, cast_to, stream_cls if stream else None, reading)
        deadline = Deadline(timeouts.first_token)
        try:
            with deadline:
                return await self._sent(send, cast_to, stream_cls if stream else None, reading)
        except UpstreamTimeout as late:
            raise openai.APITimeoutError(self._request) from late
        finally:
            timeouts.first_token = max(deadline.remaining, 0.0)
            deadline.close()

    async def _sent(self, send: Any, cast_to: Any, theirs: Any, reading: Reading) -> Any:
        """`theirs`: the class of the stream that the SDK would make; None of an answer in one."""
        if theirs is None:
            return await send(cast_to, self._prepared(False), stream=False, stream_cls=None)
        prepared = self._prepared(True)
        outcome = await self._first_try(prepared, theirs)
        if outcome is not None and (response := answer_in(outcome)) is not None:
            return stream_of(theirs, reading, response, self._client, prepared)
        ours = stream_class(theirs, reading)
        try:
            async with handed(outcome):
                return await send(cast_to, prepared, stream=True, stream_cls=ours)
        except openai.APIStatusError as error:
            if not (self._asks_usage and _refuses_usage(error)):
                raise
        with self._without_usage():
            return await send(cast_to, self._prepared(True), stream=True, stream_cls=ours)

    async def _first_try(self, options: Any, theirs: Any) -> Outcome | None:
        head = None if self.heads is None else self.heads.of(self._client, options, theirs)
        if head is None:
            return None
        try:
            body = json_of(options.json_data).encode()
        except (TypeError, ValueError):
            return None
        return await first_try(self._client._client, head, body)

    def send_sync(self, send: Any, cast_to: Any, *, stream: bool, stream_cls: Any) -> Any:
        reading = Reading(self._call, self._timeouts(), self._node)
        theirs = stream_class(stream_cls, reading) if stream else None
        try:
            return send(cast_to, self._prepared(stream), stream=stream, stream_cls=theirs)
        except openai.APIStatusError as error:
            if not (self._asks_usage and _refuses_usage(error)):
                raise
        with self._without_usage():
            return send(cast_to, self._prepared(stream), stream=stream, stream_cls=theirs)

    @contextmanager
    def _without_usage(self) -> Iterator[None]:
        """What was refused for another reason is refused again, and proves nothing."""
        self._may_ask = False
        yield
        self._no_usage.add(self._client)

    def _timeouts(self) -> Timeouts:
        own = self._deadlines
        return Timeouts() if own is None else Timeouts(own.first_token, own.idle)

    def _prepared(self, stream: bool) -> Any:
        """A copy of the options: with our deadlines, and a look at an answer that is whole."""
        options, changed = self._options, dict[str, Any]()
        if (own := self._deadlines) is not None:
            changed["timeout"] = _timeout(self._client, own, stream=stream)
        if stream:
            self._asks_usage = self._may_ask_usage()
            if self._asks_usage:
                usage = {"stream_options": {"include_usage": True}}
                changed["json_data"] = {**options.json_data, **usage}
            return options.model_copy(update=changed)
        theirs = options.post_parser

        def looked_at(answer: Any) -> Any:
            try:
                whole(self._call, answer, self._request)
            except Exception as error:
                self._call.close(error)
                raise
            self._call.close()
            return answer if isinstance(theirs, NotGiven) else theirs(answer)

        return options.model_copy(update={**changed, "post_parser": looked_at})

    def _may_ask_usage(self) -> bool:
        """langchain-openai leaves it out for servers that it does not know, and reads it from
        whoever sends it. A raw user would trip over one more chunk, which has no choices.
        """
        return (
            self._may_ask
            and self._by.plain
            and getattr(self._by.model, "stream_usage", False) is None
            and "stream_options" not in self._options.json_data
            and self._client not in self._no_usage
        )

    @contextmanager
    def unless_opened(self) -> Iterator[None]:
        """A call that failed before its answer began has ended. A connection that broke is called
        what it is: aiohttp is not what the user has chosen.
        """
        try:
            yield
        except BaseException as error:
            self._call.end(None, None)
            self._call.close(error)
            if isinstance(error, openai.APITimeoutError) and not timed_out(error):
                raise openai.APIConnectionError(request=error.request) from error.__cause__
            raise

    @property
    def _request(self) -> httpx2.Request:
        return httpx2.Request("POST", str(self._client.base_url))


def heard(node: NodeRun, by: Caller, body: Mapping[str, Any], *, responses: bool) -> UserCall:
    """How a call is told, and what its reader is given: a plain one reads a stream."""
    call = UserCall(_teller(node, by, body), responses)
    if by.plain:
        call.chunks = Dicts
        if by.invoked and (teller := node.take(by.run.run_id, by.run.handlers)) is not None:
            call.teller, call.chunks = teller, OneText
    return call


def _teller(node: NodeRun, by: Caller, body: Mapping[str, Any]) -> CallTeller:
    """What LangChain reports to this job by itself is neither told nor counted here."""
    if by.model is not None:
        if by.run is None:
            return CountedCall(None)
        if (reported := node.reported(by.run.run_id, by.run.handlers)) is not None:
            return reported
    hushed = by.run is not None and "nostream" in (by.run.tags or ())
    if muted.get() or hushed or _structured(body):
        return CountedCall(node.calls)
    return node.hear() or CountedCall(node.calls, spoken=node.speaks)


def _structured(body: Mapping[str, Any]) -> bool:
    """Its text is JSON for the program."""
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, Mapping) else body.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_object", "json_schema")


def _refuses_usage(error: openai.APIStatusError) -> bool:
    """By a status it may; one that has other meanings as well has to say so."""
    return error.status_code in (400, 422) or refused_by(error, STREAM_OPTIONS)


def _untimed(client: Any, options: Any) -> bool:
    """The user has set no timeout: neither for this call nor for their client."""
    default = openai.DEFAULT_TIMEOUT
    return isinstance(options.timeout, NotGiven) and client.timeout in (None, default)


def _timeout(client: Any, own: Limits, *, stream: bool) -> httpx2.Timeout:
    """Connecting; and each read, where no Deadline can be set around it: those of synchronous
    clients, and of a body that the user reads later without streaming it.
    """
    timed = stream and isinstance(client, openai.AsyncOpenAI)
    read = None if timed else max(own.first_token, own.idle)
    return httpx2.Timeout(None, connect=own.connect, read=read)
