"""How a run of the graph starts, and how its errors leave: the same on both paths."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from sluice.application.model_calls import ModelCalls, current_node
from sluice.application.ports import Tell
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Question, new_id
from sluice.domain.errors import ChatError, PipelineError
from sluice.infrastructure.openai_sdk.failures import classify
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.child_graphs import heard_by_context
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.run import GraphRun, Reader
from sluice.infrastructure.pipeline.running_node import RunningNode

logger = logging.getLogger(__name__)

_PATIENCE = 2
"""Seconds for a checkpointer to forget a run: its answer is there, and waits."""
_STEPS = 10_007
"""LangGraph's own bound of a run's steps. `astream_events` would make it 25, and nothing else."""


def start(
    graph: WatchedGraph, question: Question, tell: Tell, reader: Reader
) -> tuple[dict[str, Any], GraphRun]:
    """The input state, and the run as its nodes will find it through their context."""
    state = graph.input(question)
    given = frozenset(str(message.id) for message in state.get("messages", ()))
    run = GraphRun(
        graph.visibility,
        ModelCalls(question.job.model),
        given,
        tell,
        reader,
        hint=graph.hint,
        has_loop=graph.has_loop,
        reasons=graph.reasons,
    )
    current_node.set(RunningNode(run))  # conditional edges are in no node
    return state, run


@asynccontextmanager
async def configured(
    graph: WatchedGraph, run: GraphRun, listener: BaseCallbackHandler
) -> AsyncGenerator[RunnableConfig, None]:
    """A checkpointer wants a thread. Each run has its own: the chat so far is in its input.

    Nobody knows of it later, and its chat may be deleted: it goes with the run.
    """
    limit = (graph.graph.config or {}).get("recursion_limit", _STEPS)
    listeners = [listener]
    if graph.visibility.uses("tools", "reasoning", "data"):
        run.thoughts = agents = AgentListener(run)
        listeners.append(agents)
    config = RunnableConfig(
        callbacks=listeners, recursion_limit=limit, configurable=heard_by_context()
    )
    checkpointer, thread = graph.graph.checkpointer, new_id()
    if not isinstance(checkpointer, BaseCheckpointSaver):
        yield config
        return
    config["configurable"]["thread_id"] = thread
    try:
        yield config
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
