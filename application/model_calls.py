"""What the model calls of one job share, found by a model client through its context.

A pipeline sets `current_node` around every node run; a client reads it to learn the job's own
model, and tells `calls` how each call ended. A task started with an empty context finds
nothing: its calls work, with the default model, and are not counted.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from sluice.domain.events import Usage

Emit = Callable[[str], None]


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


class NodeRun:
    """The node run that a call is made in; `path` is `outer/inner` for subgraphs."""

    def __init__(self, calls: ModelCalls, path: str, *, speaks: bool) -> None:
        self.calls, self.path, self._speaks = calls, path, speaks

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


current_node: ContextVar[NodeRun | None] = ContextVar("current_node", default=None)
