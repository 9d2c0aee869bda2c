"""How a run of the graph starts, what it comes to, and how its errors leave: on both paths."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from sluice.application.model_calls import ModelCalls, current_node
from sluice.application.ports import Tell
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ExecutionPath, Question, new_id
from sluice.domain.errors import ChatError, PipelineError
from sluice.domain.graph_state import ROOT, Advanced, Head, Outcome
from sluice.infrastructure.openai_sdk.failures import classify
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.answers import ids_of
from sluice.infrastructure.pipeline.child_graphs import heard_by_context
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.place import Place, current_place, found
from sluice.infrastructure.pipeline.run import GraphRun, Reader
from sluice.infrastructure.pipeline.running_node import RunningNode

logger = logging.getLogger(__name__)
L = TypeVar("L", bound="BaseCallbackHandler")

_PATIENCE = 2
"""Seconds for a checkpointer to forget a run: its answer is there, and waits."""
_STEPS = 10_007
"""LangGraph's own bound of a run's steps. `astream_events` would make it 25, and nothing else."""
_OUTLIVING = ("answer", "intent", "structured_response")
"""What is told of a state, and would be of an earlier turn's if this one writes none."""


@dataclass(slots=True)
class Call(Generic[L]):
    """What the graph is called with, and what comes of it. `place`: where it leaves its state."""

    question: Question
    run: GraphRun
    listener: L
    input: Any
    config: RunnableConfig
    options: Mapping[str, Any]
    place: Place | None
    before: Mapping[str, Any]
    """The versions of the state's channels where the turn began."""

    def outcome(self, path: ExecutionPath, final: object, *, offline: bool) -> Outcome:
        """Raises PipelineError when the graph ended without an answer."""
        place = self.place
        now = {} if place is None else place.versions
        earlier = {key for key in _OUTLIVING if now.get(key) and now[key] == self.before.get(key)}
        done = self.run.end(path, final, offline=offline, earlier=earlier)
        if place is None or self.question.head is None:
            return done
        return Advanced(done, place.head)


@asynccontextmanager
async def called(
    graph: WatchedGraph,
    question: Question,
    tell: Tell,
    reader: Reader,
    listen: Callable[[GraphRun], L],
) -> AsyncGenerator[Call[L], None]:
    """Ready to be called; its nodes find the run through their context.

    Raises StateLost when the question's head is not there.
    """
    given, place = await _begun(graph, question)
    run = GraphRun(
        graph.visibility,
        ModelCalls(question.job.model),
        given,
        tell,
        reader,
        hint=graph.hint,
        has_loop=graph.has_loop,
    )
    current_node.set(RunningNode(run))  # conditional edges are in no node
    current_place.set(place)
    listener = listen(run)
    options: dict[str, Any] = {"context": graph.context(question)}
    if place is not None:
        options["durability"] = "exit"  # one checkpoint a run: nobody could begin at the others
    config = _config(graph, run, listener)
    before = {} if place is None else place.versions
    async with _thread(graph, place) as configurable:
        config["configurable"] |= configurable
        yield Call(question, run, listener, graph.input(question), config, options, place, before)


async def _begun(graph: WatchedGraph, question: Question) -> tuple[frozenset[str], Place | None]:
    """The ids of the messages that the run is given, and where it begins, if it leaves a state.

    A run that keeps none for the chat has a thread of its own, which goes with its job.
    """
    given = ids_of(graph.input(question))
    if graph.saver is None:
        return given, None
    head = question.head or Head(question.job.id)
    kept = await found(graph.saver, head)
    place = Place(*head, kept.checkpoint["channel_versions"])
    if head.checkpoint_id == ROOT:
        return given, place
    return given | ids_of(await graph.values_at(kept)), place


def _config(graph: WatchedGraph, run: GraphRun, listener: BaseCallbackHandler) -> RunnableConfig:
    limit = (graph.graph.config or {}).get("recursion_limit", _STEPS)
    listeners = [listener]
    if graph.visibility.uses("tools", "reasoning", "data"):
        listeners.append(AgentListener(run))
    run.listeners = len(listeners)
    return RunnableConfig(
        callbacks=listeners, recursion_limit=limit, configurable=heard_by_context()
    )


@asynccontextmanager
async def _thread(
    graph: WatchedGraph, place: Place | None
) -> AsyncGenerator[Mapping[str, Any], None]:
    """The `configurable` that a checkpointer wants.

    With one of the graph's own each run has its own thread: the chat so far is in its input.
    Nobody knows of it later, and its chat may be deleted: it goes with the run.
    """
    if place is not None:
        yield place.config
        return
    checkpointer, thread = graph.graph.checkpointer, new_id()
    if not isinstance(checkpointer, BaseCheckpointSaver):
        yield {}
        return
    try:
        yield {"thread_id": thread}
    finally:
        try:
            async with asyncio.timeout(_PATIENCE):
                await checkpointer.adelete_thread(thread)
        except Exception as error:  # noqa: BLE001 - the user's code, and the run is over
            logger.warning("a run stays in the graph's checkpointer: %s", format_traceback(error))


@contextmanager
def translated() -> Iterator[None]:
    """A node may raise anything: what is no failure of a model call is a PipelineError."""
    try:
        yield
    except ChatError:
        raise
    except Exception as error:
        raise classify(error) or PipelineError() from error
