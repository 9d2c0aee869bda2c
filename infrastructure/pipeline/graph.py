"""A user's LangGraph graph, made ready to be read: every node wrapped, every declaration known."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sluice.domain.chat import Question
from sluice.infrastructure.pipeline.child_graphs import follow
from sluice.infrastructure.pipeline.finish_reasons import FinishReasons
from sluice.infrastructure.pipeline.loops import has_loop
from sluice.infrastructure.pipeline.model_callers import agent_node, model_callers
from sluice.infrastructure.pipeline.nodes import WatchedNode
from sluice.infrastructure.pipeline.visibility import Named, Visibility

_MESSAGES: Mapping[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}


class WatchedGraph:
    """`named` are nodes of which a setting says more than the graph does; a set is who speaks.

    Each node found while building is wrapped, and counts by its own metadata only: LangGraph
    hands metadata down to subgraphs. A graph that a node runs by itself is unknown here.

    `notice` is what whoever runs the graph should know of who speaks; None if the graph says it.
    `hint` is that notice where nobody speaks. `has_loop`: a node may run again. `reasons`: what
    its models have told of their answers' ends.
    """

    def __init__(self, graph: object, named: Named | frozenset[str] = frozenset()) -> None:
        """Raises TypeError for anything but a sound StateGraph, and UnknownNodeError."""
        if isinstance(graph, StateGraph):
            try:
                graph = graph.compile()
            except ValueError as error:
                raise TypeError(str(error)) from error
        if not isinstance(graph, CompiledStateGraph):
            raise TypeError(f"a StateGraph is wanted, not {type(graph).__name__}")
        follow()
        if isinstance(named, frozenset):
            named = {"speaks": named}
        self.visibility = Visibility(named)
        self.graph: CompiledStateGraph[Any, Any, Any, Any] = self._watched(graph, "")
        self.notice = self.hint = None
        if not self.visibility.uses("speaks"):
            if agent := agent_node(graph):
                self.visibility = Visibility({**named, "speaks": frozenset({agent})})
                self.graph = self._watched(graph, "")
                self.notice = f"the graph is an agent and declares no speaking node: {agent} speaks"
            else:
                self.notice = self.hint = _nobody_speaks(list(model_callers(graph)))
        self.has_loop = has_loop(graph)
        self.reasons = FinishReasons()
        self.visibility.check()
        builder = graph.builder
        self._keys = frozenset(
            _fields(builder.input_schema) if builder.input_schema else builder.channels
        )
        self._context_keys = _fields(builder.context_schema) if builder.context_schema else ()

    def input(self, question: Question) -> dict[str, Any]:
        """The state a run starts with: only the keys that the graph's schema has.

        Messages get ids, so that what a run adds can be told from what it was given.
        """
        job = question.job
        messages = [
            _MESSAGES[turn.role](turn.content, id=f"{job.id}:{n}")
            for n, turn in enumerate(question.history)
        ]
        messages.append(HumanMessage(job.message, id=f"{job.id}:{len(messages)}"))
        state = {
            "message": job.message,
            "messages": messages,
            "chat_id": job.chat_id,
            "job_id": job.id,
            "user_id": job.user,
            "metadata": dict(job.metadata),
        }
        return {key: value for key, value in state.items() if key in self._keys}

    def context(self, question: Question) -> dict[str, Any] | None:
        """Of the request's metadata what the graph's `context_schema` has; None without any."""
        metadata = question.job.metadata
        return {key: metadata[key] for key in self._context_keys if key in metadata} or None

    def _watched(self, graph: Any, above: str) -> Any:
        """A copy of the graph, its nodes and static subgraphs watched; the user's is kept."""
        if graph.interrupt_before_nodes or graph.interrupt_after_nodes:
            raise TypeError("the graph stops for a human, which is not supported yet")
        _check_checkpointer(graph.checkpointer)
        nodes = {}
        for name, node in graph.nodes.items():
            path = above + name
            if name == START:
                nodes[name] = node
                continue
            metadata = node.metadata
            if not name.startswith("__"):
                metadata = self.visibility.declare(path, node.metadata)
            inner = node.bound
            if isinstance(inner, Pregel):
                inner = self._watched(inner, f"{path}/")
            watched = {"bound": WatchedNode(inner), "metadata": metadata}
            nodes[name] = node.copy({**watched, "subgraphs": node.subgraphs})
        return graph.copy({"nodes": nodes})


def _nobody_speaks(callers: list[str]) -> str:
    seen = f"these can call a model: {', '.join(callers)}" if callers else "none calls a model"
    return (
        f"no node of the graph speaks, so nothing is streamed; as far as can be seen, {seen}."
        ' Declare whose text is the answer, by metadata={"speaks": True} or SLUICE_SPEAKING_NODES'
    )


def _check_checkpointer(saver: object) -> None:
    """Raises TypeError for one whose asynchronous methods only say that there are none."""
    code = getattr(getattr(saver, "aget_tuple", None), "__code__", None)
    if code is not None and NotImplementedError.__name__ in code.co_names:
        name = type(saver).__name__
        raise TypeError(
            f"the graph's checkpointer {name} is synchronous, and Sluice runs graphs"
            f" asynchronously: compile it without one, or with InMemorySaver"
        )


def _fields(schema: type) -> list[str]:
    return list(getattr(schema, "model_fields", None) or get_type_hints(schema))
