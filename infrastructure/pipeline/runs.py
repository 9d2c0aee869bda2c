"""How a run of the graph starts, and how its errors leave: the same on both paths."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig

from application.model_calls import ModelCalls, NodeRun, current_node
from domain.chat import Question, new_id
from domain.errors import ChatError, PipelineError
from infrastructure.pipeline.graph import WatchedGraph
from infrastructure.pipeline.nodes import GraphRun, current_run

_STEPS = 10_007
"""LangGraph's own bound of a run's steps. `astream_events` would make it 25, and nothing else."""


def start(graph: WatchedGraph, question: Question) -> tuple[dict[str, Any], GraphRun]:
    """The input state, and the run as its nodes will find it through their context."""
    state = graph.input(question)
    given = frozenset(str(message.id) for message in state.get("messages", ()))
    run = GraphRun(ModelCalls(question.job.model), given)
    current_run.set(run)
    current_node.set(NodeRun(run.calls, "", speaks=False))  # conditional edges are in no node
    return state, run


def config_of(graph: WatchedGraph, listener: BaseCallbackHandler) -> RunnableConfig:
    """A checkpointer wants a thread. Each run has its own: the chat so far is in its input."""
    limit = (graph.graph.config or {}).get("recursion_limit", _STEPS)
    config = RunnableConfig(callbacks=[listener], recursion_limit=limit)
    if graph.graph.checkpointer is not None:
        config["configurable"] = {"thread_id": new_id()}
    return config


@contextmanager
def translated() -> Iterator[None]:
    """A node may raise anything: whatever is not ours already is a PipelineError."""
    try:
        yield
    except ChatError:
        raise
    except Exception as error:
        raise next(_ours(error), PipelineError()) from error


def _ours(error: BaseException) -> Iterator[ChatError]:
    """What a node's TaskGroup has wrapped."""
    if isinstance(error, ChatError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _ours(inner)
