"""Where a run begins: with an empty state, where the chat's graph stands, or after a pause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.domain.chat import Question
from sluice.domain.errors import AskerGone
from sluice.domain.graph_state import ROOT, Head
from sluice.infrastructure.pipeline.answers import ids_of
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.pauses import at, command, require_asking
from sluice.infrastructure.pipeline.place import Place, found


@dataclass(frozen=True, slots=True)
class Start:
    """`given`: the ids of the messages that the turn began with, and `before`, the versions of the
    state's channels then. `place`: where the run stands, if it leaves a state; `note`: what it has
    told before a pause.
    """

    input: Any
    given: frozenset[str]
    place: Place | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] | None = None


async def started(graph: WatchedGraph, question: Question) -> Start:
    """A run that keeps no state for its chat has a thread of its own, which goes with its job.

    Raises StateLost, AskerGone and Declined.
    """
    state = graph.input(question)
    given = ids_of(state)
    if graph.saver is None:
        if question.resumption is not None:  # no node of the graph asks any more
            raise AskerGone
        return Start(state, given)
    head = question.head or Head(question.job.id)
    kept = await found(graph.saver, head)
    before = kept.checkpoint["channel_versions"]
    if head.checkpoint_id != ROOT:
        given |= ids_of(await graph.values_at(kept))
    if question.resumption is None:
        return Start(state, given, Place(*head, before), before, {})
    pause = question.resumption.pause
    paused = await found(graph.saver, pause.head)
    snapshot = await graph.graph.aget_state(at(pause.head))
    require_asking(paused, snapshot)
    place = Place(*pause.head, paused.checkpoint["channel_versions"])
    return Start(command(question.resumption, snapshot), given, place, before, pause.said)
