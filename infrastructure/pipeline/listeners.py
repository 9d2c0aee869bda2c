"""What a run asks of those who listen to its nodes and models."""

from collections.abc import Sequence
from typing import Literal, Protocol
from uuid import UUID

from sluice.application.heard_calls import End
from sluice.application.model_calls import CallTeller, Emit
from sluice.domain.events import Json

Reader = Literal["events", "tap", "messages"]
"""Who reads: A1 by `astream_events`, which hears no token, or A2 in one of two ways."""


class NodeAt(Protocol):
    """A node that is running, by its namespace."""

    @property
    def namespace(self) -> str: ...

    def heard_at(self, namespace: str) -> bool: ...


class Listener(Protocol):
    """The callback handler that LangChain reports to; `take` is asked as `NodeRun.take` is, and
    `end_of` takes the finish reason of a run that LangChain reports itself.
    """

    def end_of(self, run_id: UUID) -> End: ...

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None: ...


class ThoughtListener(Protocol):
    """The callback handler that tells what models think; `thinker` takes what LangChain leaves
    out of that run's thoughts, None if they are not heard. `noted` is what it must know when the
    run goes on after a pause.
    """

    def thinker(self, run_id: UUID) -> Emit | None: ...

    def noted(self) -> dict[str, Json]: ...
