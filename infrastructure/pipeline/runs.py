"""How a run of the graph starts, what it comes to, and how its errors leave: on both paths."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph import errors
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from sluice.application.model_calls import ModelCalls, current_node
from sluice.application.ports import Tell
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ExecutionPath, Question, new_id
from sluice.domain.errors import ChatError, PipelineError
from sluice.domain.graph_state import Advanced, Outcome, Pause
from sluice.infrastructure.openai_sdk.failures import classify
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.child_graphs import heard_by_context
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.listeners import Reader
from sluice.infrastructure.pipeline.pauses import asked_again, at, pause_of
from sluice.infrastructure.pipeline.place import Place, current_place
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.starts import Start, started

logger = logging.getLogger(__name__)
L = TypeVar("L", bound="BaseCallbackHandler")

_PATIENCE = 2
"""Seconds for a checkpointer to forget a run: its answer is there, and waits."""
_NO_SAVER = (
    "the graph waits for a human, and what it knows cannot be kept until the answer:"
    " it needs the extra `state`, and SLUICE_STORE=sqlite:///… or SLUICE_DATABASE; if it has both,"
    " its code did not show that it asks: compile it with a checkpointer"
)
_is_invalid_answer: Callable[[BaseException], bool] = getattr(
    errors, "is_invalid_resume", lambda _: False
)
"""Whether an answer was not what a `response_schema` wants; older LangGraphs have none."""
_OUTLIVING = ("answer", "intent", "structured_response")
"""What is told of a state, and would be of an earlier turn's if this one writes none."""


@dataclass(slots=True)
class Call(Generic[L]):
    """What the graph is called with, and what comes of it. `called` is what is called."""

    graph: WatchedGraph
    called: CompiledStateGraph[Any, Any, Any, Any]
    question: Question
    run: GraphRun
    listener: L
    input: Any
    config: RunnableConfig
    options: Mapping[str, Any]
    start: Start

    async def outcome(self, path: ExecutionPath, final: object, *, offline: bool) -> Outcome:
        """Raises PipelineError when the graph ended without an answer."""
        start = self.start
        if start.place is None:
            if self.run.waits and not self.graph.is_shadow:
                logger.error(_NO_SAVER)
            return self.run.end(path, final, offline=offline)
        if (self.run.waits or self.graph.stops) and (pause := await self._pause(start.place)):
            return pause
        now, then = start.place.versions, start.before
        earlier = {key for key in _OUTLIVING if now.get(key) and now[key] == then.get(key)}
        done = self.run.end(path, final, offline=offline, earlier=earlier)
        return done if self.question.head is None else Advanced(done, start.place.head)

    async def _pause(self, place: Place) -> Pause | None:
        snapshot = await self.graph.graph.aget_state(at(place.head))
        resumption = self.question.resumption
        before = None if resumption is None else resumption.pause
        return pause_of(snapshot, place.head, self.run.pause(), before)


@asynccontextmanager
async def called(
    graph: WatchedGraph,
    question: Question,
    tell: Tell,
    reader: Reader,
    listen: Callable[[GraphRun], L],
) -> AsyncGenerator[Call[L], None]:
    """Ready to be called; its nodes find the run through their context.

    Raises StateLost when the question's head is not there, AskerGone and Declined.
    """
    start = await started(graph, question)
    run = GraphRun(
        graph.visibility,
        ModelCalls(question.job.model),
        start.given,
        tell,
        reader,
        hint=graph.hint,
        has_loop=graph.has_loop,
        reasons=graph.reasons,
        note=start.note,
    )
    current_node.set(RunningNode(run))  # conditional edges are in no node
    current_place.set(start.place)
    listener = listen(run)
    options: dict[str, Any] = {"context": graph.context(question)}
    if start.place is not None:
        options["durability"] = "exit"  # one checkpoint a run: nobody could begin at the others
    config = _config(graph, run, listener, start.note)
    compiled, given = graph.graph, start.input
    if graph.direct is not None and reader != "messages":
        compiled, given = graph.direct.graph, graph.direct.input(given)
    saver = None
    if start.place is not None:
        config["configurable"] |= start.place.config
    elif isinstance(saver := graph.graph.checkpointer, BaseCheckpointSaver):
        config["configurable"]["thread_id"] = new_id()
    try:
        yield Call(graph, compiled, question, run, listener, given, config, options, start)
    finally:
        if isinstance(saver, BaseCheckpointSaver):
            await _forget(saver, config["configurable"]["thread_id"])


async def outcome_of(
    call: Call[L],
    read: Callable[[Call[L]], Awaitable[object]],
    path: ExecutionPath,
    *,
    offline: bool,
) -> Outcome:
    """Reads the run to its end, which may be a pause."""
    try:
        final = await read(call)
    except Exception as error:
        resumption = call.question.resumption
        if resumption is None or not _is_invalid_answer(error):
            raise
        return asked_again(resumption, call.run.pause())
    return await call.outcome(path, final, offline=offline)


def _config(
    graph: WatchedGraph,
    run: GraphRun,
    listener: BaseCallbackHandler,
    note: Mapping[str, Any] | None,
) -> RunnableConfig:
    """What is inside the run is told to its listeners: of the run itself they know already."""
    listeners = [listener]
    if graph.thinks:
        run.thoughts = agents = AgentListener(run, note)
        listeners.append(agents)
    return RunnableConfig(
        callbacks=AsyncCallbackManager([], listeners),
        recursion_limit=graph.steps,
        configurable=heard_by_context(graph.graph.store),
    )


async def _forget(saver: BaseCheckpointSaver[Any], thread: str) -> None:
    """With a checkpointer of the graph's own each run has its own thread: the chat so far is in
    its input. Nobody knows of it later, and its chat may be deleted: it goes with the run.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            await saver.adelete_thread(thread)
    except Exception as error:  # noqa: BLE001 - the user's code, and the run is over
        logger.warning("a run stays in the graph's checkpointer: %s", format_traceback(error))


class translated:  # noqa: N801 - as contextlib's own, which would keep a generator for each run
    """A node may raise anything: what is no failure of a model call is a PipelineError."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ChatError):
            raise classify(error) or PipelineError() from error
