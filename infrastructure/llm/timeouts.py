"""How long a stream's next words are waited for, by what it has said so far."""

from .deadline import Deadline
from .decoding import Delta

_TAIL_SECONDS = 3.0
"""How long a silence behind a finish reason may last before it is the answer's end. Usage and late
pieces come within two seconds; a server that neither says [DONE] nor closes costs this much."""
_CLOSING_SECONDS = 1.0
"""How long a body may take to end after [DONE], so that its connection can be used again."""


class StreamTimeouts:
    """The deadline of one call: until something is said, then from each thing said to the next.

    Text, reasoning, a tool call's piece and a finish reason are something said. A finish reason
    is believed until more is said: gateways put one into every chunk. From then on it is believed
    only where nothing is said with it.
    """

    __slots__ = ("_begun", "_believed", "_done", "_finished", "_idle", "deadline")

    def __init__(self, first_token: float, idle: float) -> None:
        self.deadline = Deadline(first_token)
        self._idle = idle
        self._begun = self._finished = self._believed = self._done = False

    @property
    def over(self) -> bool:
        """Silence, or a connection that breaks, is now the end and no failure."""
        return self._believed or self._done

    def hear(self, delta: Delta) -> bool:
        """Whether a next delta that is only text needs no more than `deadline.renew`."""
        said = bool(delta.text or delta.reasoning or delta.tool_calls)
        belies = said and self._finished
        self._finished |= bool(delta.finish_reason)
        if self._finished and not belies:
            if not self.over and (delta.finish_reason or delta.usage):
                self._begun = self._believed = True
                self.deadline.allow(_TAIL_SECONDS)
        elif said and not self._done:
            if self._believed or not self._begun:
                self.deadline.allow(self._idle)
            self._begun, self._believed = True, False
            self.deadline.renew()
        return self._begun and not self._finished

    def may_pause(self, seconds: float) -> bool:
        """Whether what is said may be heard so much later: never as late as a silence may last."""
        return 2 * seconds < self._idle

    def end_is_said(self) -> None:
        """[DONE] has come."""
        if not self._done:
            self._done = True
            self.deadline.allow(_CLOSING_SECONDS)
