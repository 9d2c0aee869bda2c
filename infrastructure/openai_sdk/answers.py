"""One call of a user's client while it is under way: what is heard of it is told and judged.

Fast where the text of an answer is given joined: a read that is the last one but for its text is
taken for that text alone, as our own client takes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sluice.application.heard_calls import CountedCall
from sluice.application.model_calls import CallTeller
from sluice.domain.errors import AnswerTooLarge
from sluice.domain.events import Usage
from sluice.infrastructure.llm.alike import AlikeReads
from sluice.infrastructure.llm.event_stream import EventSplitter
from sluice.infrastructure.llm.failures import of_error
from sluice.infrastructure.llm.genai import CallSpan

from .characters import WholeCharacters
from .chunks import Chunks, OneText, Stream
from .ends import failure_of, responses_finish_reason, usage_of
from .events import ChatEventReader, EventReader, ParsedEvent, ResponsesEventReader
from .failures import CutAnswer, NamedFailure, NoAnswer, classify
from .whole_answers import said_in

_DONE = b"[DONE]"


@dataclass(slots=True, eq=False)
class UserCall:
    """`responses`: of the Responses API. `chunks`: what its reader is given. `max_answer`: bytes
    of text beyond which an answer is refused. `piece_interval`: how late it may be read unheard.
    """

    teller: CallTeller
    responses: bool
    chunks: type[Chunks] = Chunks
    over: bool = False
    max_answer: int = 4 * 2**20
    piece_interval: float = 0
    span: CallSpan | None = None
    cost: Usage | None = None
    finish_reason: str | None = None

    def events(self) -> EventReader:
        return (
            ResponsesEventReader()
            if self.responses
            else ChatEventReader(as_langchain=self.chunks is OneText)
        )

    def end(self, usage: Usage | None, finish_reason: str | None) -> None:
        """Told once, however often a user parses a raw response."""
        if not self.over:
            self.over = True
            self.cost, self.finish_reason = usage, finish_reason
            self.teller.ended(usage, finish_reason)

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more comes of it. Whoever gave it up, or was cancelled, has not failed."""
        span, self.span = self.span, None
        if span is None:
            return
        if isinstance(error, Exception):
            known = classify(error)
            span.failed(known.code if known else type(error).__name__)
        span.end(self.cost, self.finish_reason)


class StreamedAnswer:
    """A body, read by read. `said`: something has been said, be it reasoning or a tool call."""

    def __init__(self, call: UserCall, stream: Stream) -> None:
        self._call, self._stream = call, stream
        self._splitter = EventSplitter(failures=False)
        self._characters, self._alike = WholeCharacters(), AlikeReads()
        self._events, self._chunks = call.events(), call.chunks(stream)
        self._one_text = self._chunks if isinstance(self._chunks, OneText) else None
        self._any = False
        self._size = 0
        self.said = 0
        self.done = False

    @property
    def joins(self) -> bool:
        """Its reader is given the text in one chunk."""
        return self._one_text is not None

    @property
    def pause(self) -> float:
        """For `Body.pause_reading`: where nobody is told before the end."""
        unheard = self.joins and type(self._call.teller) is CountedCall
        return self._call.piece_interval if unheard else 0

    @property
    def finished(self) -> bool:
        return self._events.finished

    def feed(self, read: bytes) -> Iterator[Any]:
        """The chunks that the caller gets; what they say has been told before each of them.

        Raises AnswerTooLarge, which is none of the SDK's: another try would be no smaller.
        """
        events = self._splitter.feed(read)
        self._alike.forget()
        for event in events:
            if event.startswith(_DONE):
                self.done = True
                return
            self._any = True
            if b"\\u" in event or self._characters.held:
                for data in self._characters.of(event):
                    yield from self._chunks.of(data, self._heard(data))
            else:  # nearly always
                heard = self._heard(event)
                yield from self._chunks.of(event, heard)
                if self._one_text and heard.plain and len(events) == 1 and heard.text:
                    self._alike.learn(read, event, heard.text)

    def take(self, read: bytes) -> Iterable[Any]:
        """As `feed`. Behind plain text that is held, an event that is the same but for its text
        means that text and nothing else, also to the judge of the answer's end.
        """
        if self._one_text and (text := self._alike.text_in(read)):
            self._say(text)
            self._one_text.hold(text)
            return ()
        return self.feed(read)

    def _heard(self, data: bytes) -> ParsedEvent:
        """What is said is told."""
        heard = self._events.read(data)
        if text := heard.text:
            self._say(text)
        if heard.reasoning:
            self.said += 1
            self._call.teller.reason(heard.reasoning)
        for piece in heard.tool_calls:
            self.said += 1
            self._call.teller.call_tool(piece)
        return heard

    def _say(self, text: str) -> None:
        self.said += 1
        self._size += len(text) if text.isascii() else len(text.encode())
        if self._size > self._call.max_answer:
            raise AnswerTooLarge  # also where nobody hears the tokens, as on A1
        self._call.teller.say(text)

    def end(self) -> Iterator[Any]:
        """At the body's end: what was held back. Raises if that was no proper end."""
        for data in self._characters.left():
            yield from self._chunks.of(data, self._heard(data))
        yield from self._chunks.left()
        events, request = self._events, self._stream.response.request
        if events.failure is not None:
            raise NamedFailure(request) from events.failure
        if events.finished or events.unsure:
            return
        headers = self._stream.response.headers
        named = "text/event-stream" in headers.get("content-type", "").lower()
        # What is encoded in a way that was not asked for comes as it is.
        if not self._any and not (named and "content-encoding" not in headers):
            raise NoAnswer(message="the answer is no event stream", request=request)
        raise CutAnswer(message="the answer ended without a finish reason", request=request)

    def close(self, error: Exception | None = None) -> None:
        self._call.end(self._events.usage, self._events.finish_reason)
        self._call.close(error)


def whole(call: UserCall, answer: object, request: Any) -> None:
    """Counts and judges an answer that was not streamed; its text comes with the node's state,
    its thoughts are told here.

    `answer`: what the SDK made of the body, which may be anything.
    """
    if not isinstance(answer, BaseModel) or (answer.model_extra or {}).get("error"):
        raise NoAnswer(message="the answer is no object of the API", request=request)
    said = said_in(answer, responses=call.responses)
    if len(said.text.encode(errors="replace")) > call.max_answer:
        raise AnswerTooLarge
    if said.thought and not call.over:
        call.teller.reason(said.thought)
    usage = getattr(answer, "usage", None)
    cost = usage_of(usage.model_dump()) if isinstance(usage, BaseModel) else None
    if call.responses:
        status, details = (
            getattr(answer, "status", None),
            getattr(answer, "incomplete_details", None),
        )
        items = getattr(answer, "output", None) or ()
        called = any(getattr(item, "type", None) == "function_call" for item in items)
        reason = details.model_dump() if isinstance(details, BaseModel) else details
        call.end(cost, responses_finish_reason(status, reason, called=called))
        if status == "failed":
            error = getattr(answer, "error", None)
            failure = of_error(error.model_dump() if isinstance(error, BaseModel) else error)
            raise NamedFailure(request) from failure
        return
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        raise NoAnswer(message="the answer has no choices", request=request)
    reasons = [getattr(choice, "finish_reason", None) for choice in choices]
    call.end(cost, reasons[0] if reasons and isinstance(reasons[0], str) else None)
    for choice, reason in zip(choices, reasons, strict=True):
        if found := failure_of(reason, getattr(choice, "error", None)):
            raise NamedFailure(request) from found
    if not all(reasons):
        raise CutAnswer(message="the answer has no finish reason", request=request)
