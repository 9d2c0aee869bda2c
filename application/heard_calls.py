"""Calls of users' own clients, as a node run takes them: muted, counted, said once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import SequenceMatcher

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


End = Callable[[str | None], None]
"""Takes the finish reason of a call that is over."""


class CountedCall:
    """A CallTeller that tells nothing; `calls` is None where somebody else counts, who is told by
    `end` what their client may have lost.
    """

    def __init__(
        self, calls: ModelCalls | None, *, spoken: bool = False, end: End | None = None
    ) -> None:
        self._calls, self._spoken, self._end = calls, spoken, end

    def say(self, text: str, /) -> None:
        return

    def reason(self, text: str, /) -> None:
        return

    def call_tool(self, piece: ToolCallPiece, /) -> None:
        return

    def ended(self, usage: Usage | None, finish_reason: str | None, /) -> None:
        if self._calls is not None:
            self._calls.ended(usage, finish_reason, spoken=self._spoken)
        if self._end is not None:
            self._end(finish_reason)


class HeardCall(CountedCall):
    """A CallTeller that takes text and thoughts to whoever hears them; None: nobody does.

    The finish reason of a call whose text is heard is the answer's.
    """

    def __init__(
        self,
        calls: ModelCalls | None,
        say: Emit | None,
        reason: Emit | None = None,
        *,
        end: End | None = None,
    ) -> None:
        super().__init__(calls, spoken=say is not None, end=end)
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

    What is written in other capitals, spaces or signs, or mended here and there, is the same
    text once more: it is swallowed too, and the answer is put right when the graph has ended.
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
        return "" if self._rewritten(written) else written

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

    def _rewritten(self, written: str) -> bool:
        """Whether it is what was heard, in another form: then so much counts as written."""
        told = _letters(written[:_COMPARED])
        ahead = "".join(text for call in self._calls for text in call)[: 2 * _COMPARED]
        heard = _letters(ahead)
        if not told or not heard:
            return False
        goes_on = told.startswith(heard) and 2 * len(heard) >= len(told)
        if not goes_on and not heard.startswith(told):
            heard = heard[: len(told)]
            if len(told) < _WORTH_COMPARING or _likeness(heard, told) < _ALIKE:
                return False
        self._skip(len(told))
        return True

    def _skip(self, letters: int) -> None:
        for call in self._calls:
            ahead = "".join(call)
            end = 0
            while end < len(ahead) and letters > 0:
                letters -= len(_letters(ahead[end]))
                end += 1
            call[:] = [ahead[end:]]


_COMPARED = 1000
"""Characters of a text at most: enough to know it by, and soon done."""
_WORTH_COMPARING, _ALIKE = 16, 0.6


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()
