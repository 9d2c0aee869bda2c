"""A user's LangGraph graph, made ready to be read: every node wrapped, every declaration known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sluice.domain.chat import Question
from sluice.infrastructure.pipeline.nodes import WatchedNode

_MESSAGES: Mapping[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What `add_node(…, metadata={"speaks": …, "stage": …})` said of one node."""

    speaks: bool
    stage: bool


class WatchedGraph:
    """`speaking` names nodes (`outer/inner`) that speak though the graph does not say so.

    A node found while building counts by its own metadata only: LangGraph hands metadata down
    to subgraphs, and a silent inner node must not inherit its outer node's voice. A graph that
    a node runs by itself is unknown here: its nodes count as that node's own work.
    """

    def __init__(self, graph: object, speaking: frozenset[str] = frozenset()) -> None:
        """Raises TypeError for anything but a sound StateGraph, ValueError for an unknown node."""
        if isinstance(graph, StateGraph):
            try:
                graph = graph.compile()
            except ValueError as error:
                raise TypeError(str(error)) from error
        if not isinstance(graph, CompiledStateGraph):
            raise TypeError(f"a StateGraph is wanted, not {type(graph).__name__}")
        self._speaking = speaking
        self._nodes: dict[str, Declared] = {}
        self.graph: CompiledStateGraph[Any, Any, Any, Any] = self._watched(graph, "")
        if unknown := sorted(path for path in speaking if not self._may_be(path)):
            raise ValueError(f"the graph has no node {', '.join(unknown)}")
        self.stages = sum(declared.stage for declared in self._nodes.values())
        builder = graph.builder
        self._keys = frozenset(
            _fields(builder.input_schema) if builder.input_schema else builder.channels
        )

    def declared(self, path: str, metadata: Mapping[str, Any]) -> Declared:
        """`metadata` is the run's own, with what it inherited."""
        if known := self._nodes.get(path):
            return known
        return Declared(
            bool(metadata.get("speaks")) or path in self._speaking,
            metadata.get("stage") is not False,
        )

    def _may_be(self, path: str) -> bool:
        """There is such a node, or it is in a graph that a node of ours may run by itself."""
        outer = path.rpartition("/")[0]
        if path in self._nodes or not outer:
            return path in self._nodes
        inside = any(known.startswith(f"{outer}/") for known in self._nodes)
        return not inside and self._may_be(outer)

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

    def _watched(self, graph: Any, above: str) -> Any:
        """A copy of the graph, its nodes and static subgraphs watched; the user's is kept."""
        if graph.interrupt_before_nodes or graph.interrupt_after_nodes:
            raise TypeError("the graph stops for a human, which is not supported yet")
        nodes = {}
        for name, node in graph.nodes.items():
            path = above + name
            if name == START:
                nodes[name] = node
                continue
            own = node.metadata or {}
            if not name.startswith("__"):
                self._nodes[path] = Declared(
                    bool(own.get("speaks")) or path in self._speaking, own.get("stage") is not False
                )
            inner = node.bound
            if isinstance(inner, Pregel):
                inner = self._watched(inner, f"{path}/")
            watched = WatchedNode(inner, self.declared)
            nodes[name] = node.copy({"bound": watched, "subgraphs": node.subgraphs})
        return graph.copy({"nodes": nodes})


def _fields(schema: type) -> list[str]:
    return list(getattr(schema, "model_fields", None) or get_type_hints(schema))
