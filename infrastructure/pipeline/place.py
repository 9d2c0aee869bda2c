"""Where a run stands among its thread's checkpoints: where it begins, and what it leaves."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointTuple,
    empty_checkpoint,
)

from sluice.domain.errors import StateLost
from sluice.domain.graph_state import ROOT, Head


@dataclass(slots=True)
class Place:
    """`head` is the last checkpoint that the run has passed, at first the one it begins at.

    `checkpoint_id` of None: it begins with nothing.
    """

    thread_id: str
    checkpoint_id: str | None
    versions: Mapping[str, Any] = field(default_factory=dict)
    """Of the state's channels, there."""

    @property
    def config(self) -> dict[str, Any]:
        """The `configurable` that names it."""
        named = {} if self.checkpoint_id is None else {"checkpoint_id": self.checkpoint_id}
        return {"thread_id": self.thread_id, "checkpoint_ns": "", **named}

    @property
    def head(self) -> Head:
        """Raises StateLost if nothing was kept."""
        if self.checkpoint_id is None:
            raise StateLost("the run has left no checkpoint")
        return Head(self.thread_id, self.checkpoint_id)

    def passed(self, at: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        """A saver has kept it: of this run, or of a graph inside."""
        if at["thread_id"] == self.thread_id and not at.get("checkpoint_ns"):
            self.checkpoint_id = checkpoint["id"]
            self.versions = checkpoint["channel_versions"]


current_place: ContextVar[Place | None] = ContextVar("current_place", default=None)


async def found(saver: BaseCheckpointSaver[str], head: Head) -> CheckpointTuple:
    """The checkpoint, which LangGraph would not miss: it would begin with an empty state.

    Makes the one that every thread begins with. Raises StateLost for another that is not there.
    """
    at = RunnableConfig(configurable=Place(*head).config)
    kept = await saver.aget_tuple(at)
    if kept is None and head.checkpoint_id == ROOT:
        root = {**empty_checkpoint(), "id": ROOT}
        thread = RunnableConfig(configurable={"thread_id": head.thread_id, "checkpoint_ns": ""})
        await saver.aput(thread, root, {"source": "input", "step": -2, "parents": {}}, {})  # type: ignore[arg-type]
        kept = await saver.aget_tuple(at)
    if kept is None:
        raise StateLost(f"checkpoint {head.checkpoint_id} is not there")
    return kept
