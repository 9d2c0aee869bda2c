"""Calls of users' own clients, as a node run takes them: muted, counted, said once."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sluice.application.model_calls import Emit, ModelCalls, ToolCallPiece
from sluice.domain.events import Usage

muted: ContextVar[bool] = ContextVar("muted", default=False)
"""Whether calls begun in this context are silent, whatever their node declares."""


@contextmanager
def silent() -> Iterator[None]:
    """Model calls begun inside are for the program, not for the user: they are only counted."""
    before = muted.set(True)
    try:
        yield
    finally:
        muted.reset(before)


class CountedCall:
    """A CallTeller that tells nothing; `calls` is None where somebody else counts."""

    def __init__(self, calls: ModelCalls | None, *, spoken: bool = False) -> None:
        self._calls, self._spoken = calls, spoken

    def say(self, text: str, /) -> None:
        return

    def reason(self, text: str, /) -> None:
        return

    def call_tool(self, piece: ToolCallPiece, /) -> None:
        return

    def ended(self, usage: Usage | None, finish_reason: str | None, /) -> None:
        if self._calls is not None:
            self._calls.ended(usage, finish_reason, spoken=self._spoken)


class HeardCall(CountedCall):
    """A CallTeller that takes text and thoughts to whoever hears them; None: nobody does.

    The finish reason of a call whose text is heard is the answer's.
    """

    def __init__(
        self, calls: ModelCalls | None, say: Emit | None, reason: Emit | None = None
    ) -> None:
        super().__init__(calls, spoken=say is not None)
        self._say, self._reason = say or _nobody, reason or _nobody

    def say(self, text: str, /) -> None:
        self._say(text)

    def reason(self, text: str, /) -> None:
        self._reason(text)


def _nobody(_: str) -> None:
    return


class HeardText:
    """What was heard of the calls of one node run, so that the node's own writing of it is not
    told a second time.

    A node may write each chunk as it comes, several at once, or a whole answer at its end. What
    it writes is swallowed as long as it goes on where the written part of a call stood, the
    earliest such call first; what goes beyond what was heard is the node's own, and told.
    """

    def __init__(self) -> None:
        self._calls: list[list[str]] = []
        """By call, what was heard of it and not written yet."""

    def begin(self) -> Emit:
        """A call begins: what is heard of it is given to the function returned."""
        ahead: list[str] = []
        self._calls.append(ahead)
        return ahead.append

    def to_tell(self, written: str) -> str:
        """What of `written` was not told yet: all of it, its end, or nothing."""
        for first in range(len(self._calls)):
            rest = self._swallowed(first, written)
            if rest != written:
                return rest
        return written

    def _swallowed(self, first: int, written: str) -> str:
        """The rest of `written` after what it repeats of the calls from `first` on."""
        for call in self._calls[first:]:
            ahead = "".join(call)
            call[:] = [ahead]  # joined once, however much is written beside it
            if ahead.startswith(written):
                call[:] = [ahead[len(written) :]]
                return ""
            if not ahead or not written.startswith(ahead):
                break
            call.clear()
            written = written[len(ahead) :]
        return written
