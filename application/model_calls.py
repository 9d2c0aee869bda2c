"""What the model calls of one job share, found by a model client through its context.

A pipeline sets `current_node` around every node run; a client reads it to learn the job's own
model, and tells `calls` how each call ended. A task started with an empty context finds
nothing: its calls work, with the default model, and are not counted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from sluice.domain.events import Json, Usage

Emit = Callable[[str], None]


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

    def noted(self) -> dict[str, Json]:
        """What `recall` takes, when the job goes on after a pause."""
        return {
            "usage": list(astuple(self.usage)) if self.usage else None,
            "finish_reason": self.finish_reason,
        }

    def recall(self, note: Mapping[str, Any]) -> None:
        usage = note.get("usage")
        self.usage = Usage(*usage) if usage else None
        self.finish_reason = note.get("finish_reason")

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
        self._open: dict[Callable[[], None], None] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._open)

    def add(self, close: Callable[[], None]) -> None:
        self._open[close] = None
        if self._stopped:
            close()

    def discard(self, close: Callable[[], None]) -> None:
        self._open.pop(close, None)

    def stop(self) -> None:
        self._stopped = True
        for close in list(self._open):
            close()


class NodeRun:
    """The node run that a call is made in; `path` is `outer/inner` for subgraphs.

    Whoever cancels the node stops its `open` calls. `hear`, `reported` and `take` are asked for
    calls of users' own clients. `progress` is called for each sign of life by a client whose calls
    nobody else reports; None where no silence of the node is bounded.
    """

    def __init__(
        self,
        calls: ModelCalls,
        path: str,
        *,
        speaks: bool,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self.calls, self.path, self._speaks, self.progress = calls, path, speaks, progress
        self.open = OpenCalls()

    @property
    def speaks(self) -> bool:
        """Whether the text of a call that is made now is for the user."""
        return self._speaks

    def emitter(self) -> Emit | None:
        """For a client that is about to stream: takes each piece at once to the user.

        None: somebody else listens to the call, and it must be made so that they can hear it.
        """
        return None

    def reasoning(self, text: str) -> None:
        """For a client that has read what the model thinks aloud; takes it to the user or not."""

    def hear(self) -> CallTeller | None:
        """When a call begins that nobody else reports. None: it is counted, and not told."""
        return None

    def reported(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        """For a LangChain run with these handlers that is reported to this job: it is LangChain's
        to tell, and the teller takes what LangChain leaves out. None: nobody reports it, and it
        is heard like any other call.
        """
        return None

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        """A teller for a LangChain run that was merely invoked, if nobody but this job hears its
        tokens; one that says nothing is right where nobody wants them.

        The run is then told below LangChain, which is given its text in one chunk and still
        reports its end. None: LangChain gets every chunk.
        """
        return None


current_node: ContextVar[NodeRun | None] = ContextVar("current_node", default=None)
