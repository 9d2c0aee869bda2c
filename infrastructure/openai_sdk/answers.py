"""One call of a user's client while it is under way: what is heard of it is told and judged.

Fast where the text of an answer is given joined: a read that is the last one but for its text is
taken for that text alone, as our own client takes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from sluice.application.heard_calls import CountedCall
from sluice.application.model_calls import CallTeller
from sluice.domain.errors import AnswerTooLarge
from sluice.domain.events import Usage
from sluice.infrastructure.llm.alike import AlikeReads
from sluice.infrastructure.llm.chunks import NO_JSON
from sluice.infrastructure.llm.event_stream import EventSplitter
from sluice.infrastructure.llm.failures import failure_in
from sluice.infrastructure.llm.genai import CallSpan

from .characters import WholeCharacters
from .chunks import Chunks, OneText, Stream
from .events import ChatEventReader, EventReader, ParsedEvent, ResponsesEventReader
from .failures import CutAnswer, NamedFailure, NoAnswer, classify

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
    """A body, read by read. `said`: something has been said, be it reasoning or a tool call.

    `over`: silence, or a connection that breaks, is now the end and no failure. That is behind a
    finish reason, until more is said: gateways put one into every chunk. From then on it is only
    where nothing is said with it, as for our own client.
    """

    def __init__(self, call: UserCall, stream: Stream) -> None:
        self._call, self._stream = call, stream
        self._splitter = EventSplitter(names=call.responses)
        self._characters, self._alike = WholeCharacters(), AlikeReads()
        self._events, self._chunks = call.events(), call.chunks(stream)
        self._one_text = self._chunks if isinstance(self._chunks, OneText) else None
        self._any = self._unsure = self._page = False
        """An event has come; one was not understood, so that its end proves nothing; what came
        before any event looks like a page.
        """
        self._size = 0
        self.said = 0
        self.done = self.over = False

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
        if not self._any:
            self._page |= read.lstrip().startswith(b"<")
        events = self._splitter.feed(read)
        self._alike.forget()
        for event in events:
            if event.startswith(_DONE):
                self.done = True
                return
            if b"\\u" in event or self._characters.held:
                for data in self._characters.of(event):
                    yield from self._given(data)
            elif (heard := self._heard(event)) is not None:  # nearly always
                yield from self._chunks.of(event, heard)
                if self._one_text and heard.plain and len(events) == 1 and heard.text:
                    self._alike.learn(read, event, heard.text)
            elif self.done:
                return

    def take(self, read: bytes) -> Iterable[Any]:
        """As `feed`. Behind plain text that is held, an event that is the same but for its text
        means that text and nothing else, also to the judge of the answer's end.
        """
        if self._one_text and (text := self._alike.text_in(read)):
            self._say(text)
            self._one_text.hold(text)
            return ()
        return self.feed(read)

    def _given(self, data: bytes) -> Iterator[Any]:
        if (heard := self._heard(data)) is not None:
            yield from self._chunks.of(data, heard)

    def _heard(self, data: bytes) -> ParsedEvent | None:
        """What is said is told. None: nothing is, and the caller need not know of the event."""
        before, finished = self.said, self._events.finished
        heard = self._events.read(data)
        if heard is None:
            if self._passes_over(data):
                return None
            heard = ParsedEvent()
        self._any = True
        if text := heard.text:
            self._say(text)
        if heard.reasoning:
            self._call.teller.reason(heard.reasoning)
        for piece in heard.tool_calls:
            self._call.teller.call_tool(piece)
        self.said += bool(heard.reasoning) + len(heard.tool_calls) + heard.thinks
        if finished or self._events.finished:
            self.over = not (finished and self.said > before)
        return heard

    def _passes_over(self, data: bytes) -> bool:
        """Whether an event that is no chunk is nothing to the caller: none to the standard, another
        spelling of the end, or rubbish behind a finish reason.

        Raises what it says that failed. Whatever else it is, is the caller's to read.
        """
        text = data.strip()
        if not text:
            return True
        self._any = True
        if text == _DONE:
            self.done = True
        elif failure := failure_in(data):
            raise NamedFailure(self._stream.response.request) from failure
        else:
            self._unsure |= not self.finished
        return not self._unsure

    def _say(self, text: str) -> None:
        self.said += 1
        self._size += len(text) if text.isascii() else len(text.encode())
        if self._size > self._call.max_answer:
            raise AnswerTooLarge  # also where nobody hears the tokens, as on A1
        self._call.teller.say(text)

    def end(self) -> Iterator[Any]:
        """At the body's end: what was held back, and an event that lacks only its empty line; one
        that was cut never was. Raises if that was no proper end.
        """
        rest = () if self.done else filter(_is_whole, self._splitter.end())
        for event in (
            *chain.from_iterable(map(self._characters.of, rest)),
            *self._characters.left(),
        ):
            yield from self._given(event)
        yield from self._chunks.left()
        events, request = self._events, self._stream.response.request
        if events.failure is not None:
            raise NamedFailure(request) from events.failure
        if events.finished or self._unsure:
            return
        headers = self._stream.response.headers
        named = "text/event-stream" in headers.get("content-type", "").lower()
        # What is encoded in a way that was not asked for comes as it is.
        if not self._any and (self._page or not named or "content-encoding" in headers):
            raise NoAnswer(message="the answer is no event stream", request=request)
        raise CutAnswer(message="the answer ended without a finish reason", request=request)

    def close(self, error: Exception | None = None) -> None:
        self._call.end(self._events.usage, self._events.finish_reason)
        self._call.close(error)


def _is_whole(event: bytes) -> bool:
    try:
        msgspec.json.decode(event)
    except NO_JSON:
        return False
    return True
