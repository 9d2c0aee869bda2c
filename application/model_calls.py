"""What the model calls of one job share, found by a model client through its context.

A pipeline sets `current_node` around every node run; a client reads it to learn the job's own
model, and tells `calls` how each call ended. A task started with an empty context finds
nothing: its calls work, with the default model, and are not counted.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from sluice.domain.events import Usage

Say = Callable[[str], None]


class ToolCallPiece(NamedTuple):
    """A piece of one tool call. `id` and `name` come with the first piece of a `number` only."""

    number: int
    id: str | None
    name: str | None
    arguments: str


class CallTeller(Protocol):
    """Where one streamed model call tells what it hears; from any thread, in the call's order.

    Each piece is told before the caller is given the chunk it came in. `ended` is told once for
    every call, however it went: with what is known of its cost and its finish reason by then.
    """

    def say(self, text: str, /) -> None: ...
    def reason(self, text: str, /) -> None: ...
    def call_tool(self, piece: ToolCallPiece, /) -> None: ...
    def ended(self, usage: Usage | None, finish_reason: str | None, /) -> None: ...


@dataclass(slots=True, eq=False)
class ModelCalls:
    """`model` is None for the default one; `usage` is the sum over all calls seen."""

    model: str | None = None
    usage: Usage | None = None
    finish_reason: str | None = None

    def ended(self, usage: Usage | None, finish_reason: str | None, *, spoken: bool) -> None:
        """`spoken`: the call's text was for the user, so its finish reason is the answer's."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage
        if spoken:
            self.finish_reason = finish_reason


class OpenCalls:
    """How to close the upstreams of calls that nobody can cancel, which are those of synchronous
    clients in threads. From any thread; what is added after `stop` is closed at once.
    """

    def __init__(self) -> None:
        self._open: set[Callable[[], None]] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._open)

    def add(self, close: Callable[[], None]) -> None:
        self._open.add(close)
        if self._stopped:
            close()

    def discard(self, close: Callable[[], None]) -> None:
        self._open.discard(close)

    def stop(self) -> None:
        self._stopped = True
        for close in list(self._open):
            close()


@dataclass(frozen=True, slots=True)
class NodeRun:
    """The node run that a call is made in; `path` is `outer/inner` for subgraphs.

    A client that is about to stream asks `voice` for a way to tell the user each piece at
    once. None: somebody else listens to the call, and it must be made so that they can hear it.

    The next three are for calls of the user's own clients (`infrastructure/openai_sdk`):

    - `hear` is asked when a call begins that nobody reports by itself. None: the call is
      counted, and nothing of it is told.
    - `listens`, given the handlers of a LangChain run: whether they report it to this job. If
      so, it is LangChain's to tell; if not, it is heard like any other call.
    - `take`, given the id and the handlers of a LangChain run that was merely invoked: a teller
      if nobody but this job hears its tokens. It is then told below LangChain, which is given
      its text in one chunk and still reports its end; whoever gives the teller must not tell
      that run's tokens again. A teller that says nothing is right where nobody wants tokens.
      None: LangChain gets every chunk.

    Whoever cancels the node stops its `open` calls.
    """

    calls: ModelCalls
    path: str
    speaks: bool
    voice: Callable[[], Say | None] = lambda: None
    hear: Callable[[], CallTeller | None] = lambda: None
    listens: Callable[[Sequence[object]], bool] = lambda _: True
    take: Callable[[UUID, Sequence[object]], CallTeller | None] = lambda *_: None
    open: OpenCalls = field(default_factory=OpenCalls)


current_node: ContextVar[NodeRun | None] = ContextVar("current_node", default=None)
