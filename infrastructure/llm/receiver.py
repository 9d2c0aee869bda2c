"""What one call says: decoded, bounded, timed and told where it arrives.

Fast because it is one function from bytes to whoever hears them, without a task or a generator in
between; what it says seldom is found out there, and kept for the task that waits.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import inf

from sluice.domain.errors import AnswerTooLarge, ChatError, UpstreamTimeout, UpstreamTruncated
from sluice.domain.events import Usage

from .body import Body
from .decoding import Delta, DeltaDecoder, plain
from .openai_errors import BROKEN_BODY, of_failure
from .timeouts import StreamTimeouts

Hear = Callable[[Delta], None]
Say = Callable[[str], None]
"""Takes a delta that is its text and nothing else, as nearly all are."""

_AT_ONCE = 64
"""Deltas at most that somebody waits for, however fast they come."""


class Receiver:
    """Gives each delta to `hear`, or to `say`, and keeps the call's first error for `check`.

    `max_answer`: bytes of UTF-8. `seconds`: how long whoever waits lets deltas gather. `pause`: how
    late they may be taken, where nobody hears them.
    """

    __slots__ = (
        "_decoder",
        "_enough",
        "_failure",
        "_hear",
        "_max_answer",
        "_pause",
        "_say",
        "_size",
        "_steady",
        "_text_in",
        "finish_reason",
        "heard",
        "timeouts",
        "usage",
    )

    def __init__(
        self,
        hear: Hear,
        timeouts: StreamTimeouts,
        max_answer: int,
        seconds: float,
        pause: float = 0,
        say: Say | None = None,
    ) -> None:
        self._hear, self.timeouts, self._max_answer = hear, timeouts, max_answer
        self._say = say or _delta_to(hear)
        self._pause = pause if timeouts.may_pause(pause) else 0
        self._enough = _AT_ONCE if 0 < seconds < inf else seconds
        self._decoder = DeltaDecoder()
        self._text_in = self._decoder.text_in
        self._size = 0
        self._steady = False
        self._failure: Exception | None = None
        self.heard = 0
        """Deltas since whoever waits has asked last."""
        self.usage: Usage | None = None
        self.finish_reason: str | None = None

    def take(self, data: bytes) -> bool:
        """Whether whoever waits shall be woken."""
        if self._steady and (text := self._text_in(data)):
            # As below, for nearly every token: nothing is said but text, nor is anything new.
            deadline = self.timeouts.deadline
            deadline.since, deadline.restarts = deadline.time(), True
            self._size += len(text) if text.isascii() else len(text.encode())
            if self._size > self._max_answer:
                self.fail(AnswerTooLarge())
                return True
            self.heard += 1
            try:
                self._say(text)
            except ChatError as error:
                self.fail(error)
                return True
            return self.heard >= self._enough
        self._receive(self._decoder.feed(data))
        if self._decoder.done:
            self.timeouts.end_is_said()
        return self.heard >= self._enough or self._failure is not None

    def _take_unheard(self, body: Body, data: bytes) -> bool:
        """A pause begins only with something said, so that no deadline can pass within it."""
        before = self.heard
        wake = self.take(data)
        if self._steady and self.heard > before and not wake:
            body.pause_reading(self._pause)
        return wake

    async def more(self, body: Body, seconds: float) -> bool:
        """False at the end, also when a finished answer's connection breaks or stays open. Another
        failure is kept: what was heard before it is given out first.
        """
        timeouts = self.timeouts
        take = partial(self._take_unheard, body) if self._pause else self.take
        try:
            with timeouts.deadline:
                return await body.gather(take, seconds)
        except UpstreamTimeout as late:
            if timeouts.over:
                return False
            self.fail(late)
        except BROKEN_BODY as broken:
            if timeouts.over:
                return False
            failure = of_failure(broken)
            failure.__cause__ = broken
            self.fail(failure)
        return True

    def end(self) -> None:
        """The body is over."""
        self._receive(self._decoder.end())

    def fail(self, error: Exception) -> None:
        """The first one is it."""
        self._failure = self._failure or error

    def check(self) -> None:
        """Raises what has gone wrong."""
        if self._failure is not None:
            failure, self._failure = self._failure, None  # not to be held by its own traceback
            raise failure

    def check_end(self) -> None:
        """Raises UpstreamTruncated for what is no end."""
        self._decoder.check()
        if not self._decoder.finished:
            raise UpstreamTruncated("no finish reason")

    def _receive(self, deltas: Iterable[Delta]) -> None:
        try:
            for delta in deltas:
                text = delta.text
                if self._steady and text and not (delta.finish_reason or delta.usage):
                    self.timeouts.deadline.renew()
                else:
                    self._steady = self.timeouts.hear(delta)
                    self.usage = delta.usage or self.usage
                    self.finish_reason = delta.finish_reason or self.finish_reason
                self._size += len(text) if text.isascii() else len(text.encode())
                if self._size > self._max_answer:
                    self.fail(AnswerTooLarge())  # also where nobody hears the tokens, as in A1
                    return
                self.heard += 1
                self._hear(delta)
        except ChatError as error:
            self.fail(error)


def _delta_to(hear: Hear) -> Say:
    return lambda text: hear(plain(Delta, (text, None, None, (), "")))
