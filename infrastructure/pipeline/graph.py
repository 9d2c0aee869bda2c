"""A user's LangGraph graph, made ready to be read: every node wrapped, every declaration known."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, Self, get_type_hints

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sluice.domain.chat import Question
from sluice.infrastructure.pipeline.answers import values_of
from sluice.infrastructure.pipeline.askers import Asks, asks, stops
from sluice.infrastructure.pipeline.child_graphs import follow
from sluice.infrastructure.pipeline.direct_start import DirectStart, direct_start
from sluice.infrastructure.pipeline.finish_reasons import FinishReasons
from sluice.infrastructure.pipeline.loops import has_loop
from sluice.infrastructure.pipeline.model_callers import agent_node, model_callers
from sluice.infrastructure.pipeline.node_sequence import shorten
from sluice.infrastructure.pipeline.nodes import WatchedNode
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.stream_queues import shorten_queues
from sluice.infrastructure.pipeline.visibility import Named, Visibility

_STEPS = 10_007
"""LangGraph's own bound of a run's steps. `astream_events` would make it 25, and nothing else."""
_MESSAGES: Mapping[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "user": HumanMessage,
    "assistant": AIMessage,
}


class WatchedGraph:
    """`named` are nodes of which a setting says more than the graph does; a set is who speaks.

    Each node found while building is wrapped, and counts by its own metadata only: LangGraph
    hands metadata down to subgraphs. A graph that a node runs by itself is unknown here.

    `hint` says why nothing is streamed where nobody speaks. `thinks`: a node shows more than text.
    `has_loop`: a node may run again, `steps` at most. `reasons`: what its models have told of their
    answers' ends.

    A graph that `keeps` its state, or may ask a human, has a `saver`, which takes the place of its
    own checkpointer: there its runs leave their checkpoints. Others have none, and pay nothing.
    `stops`: it is compiled to stop before or after nodes. `shadow_safe`: its own metadata says
    that a second run does no harm. `direct`: how a run is begun at less cost, if it can be.
    """

    def __init__(
        self,
        graph: object,
        named: Named | frozenset[str] = frozenset(),
        new_saver: Callable[[], Saver | None] | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        """Raises TypeError for anything but a sound StateGraph, and UnknownNodeError."""
        if isinstance(graph, StateGraph):
            try:
                graph = graph.compile()
            except ValueError as error:
                raise TypeError(str(error)) from error
        if not isinstance(graph, CompiledStateGraph):
            raise TypeError(f"a StateGraph is wanted, not {type(graph).__name__}")
        follow()
        shorten_queues()
        if isinstance(named, frozenset):
            named = {"speaks": named}
        self.stops = stops(graph)
        if self.stops and new_saver is None:
            raise TypeError(f"{_WAITS}: nothing here can")
        self.saver = _saver(new_saver, "surely" if keeps else asks(graph))
        self.visibility = Visibility(named)
        self.graph: CompiledStateGraph[Any, Any, Any, Any] = self._watched(graph, "", self.saver)
        self._speaker = self.hint = None
        if not self.visibility.uses("speaks"):
            if agent := agent_node(graph):
                self.visibility = Visibility({**named, "speaks": frozenset({agent})})
                self.graph = self._watched(graph, "", self.saver)
                self._speaker = agent
            else:
                self.hint = _nobody_speaks(list(model_callers(graph)))
        self.thinks = self.visibility.uses("tools", "reasoning", "data")
        self.steps = (graph.config or {}).get("recursion_limit", _STEPS)
        self.has_loop = has_loop(graph)
        self.reasons = FinishReasons()
        self.visibility.check()
        self.is_shadow = False
        self.shadow_safe = bool(((graph.config or {}).get("metadata") or {}).get("shadow_safe"))
        builder = graph.builder
        self._keys = frozenset(_fields(builder.input_schema))
        self._context_keys = _fields(builder.context_schema) if builder.context_schema else ()
        self.direct: DirectStart | None = None
        if not self.has_loop:
            self.direct = direct_start(self.graph, self._keys, steps=self.steps)

    @property
    def notices(self) -> Iterator[str]:
        """What whoever runs the graph should know and it does not say."""
        if self._speaker is not None:
            yield f"the graph is an agent and declares no speaking node: {self._speaker} speaks"
        if self.hint is not None:
            yield self.hint
        if self._keys.isdisjoint(("message", "messages")):
            yield (
                "the graph's input has neither message nor messages, so its nodes are not told the"
                " question: name one so in the state's schema"
            )

    def shadow(self) -> Self:
        """The same for runs that leave nothing: neither a state nor a question to a human."""
        same = copy(self)
        same.graph, same.saver = self.graph.copy({"checkpointer": None}), None
        same.is_shadow = True
        return same

    def input(self, question: Question) -> dict[str, Any]:
        """The state a run starts with: only the keys that the graph's schema has.

        Messages get ids, so that what a run adds can be told from what it was given. A graph
        that keeps its own state knows the earlier ones.
        """
        job = question.job
        state = {
            "message": job.message,
            "messages": _messages(question) if "messages" in self._keys else (),
            "chat_id": job.chat_id,
            "job_id": job.id,
            "user_id": job.user,
            "metadata": dict(job.metadata),
        }
        return {key: value for key, value in state.items() if key in self._keys}

    @property
    def builds_on(self) -> bool:
        """Whether a checkpoint may need those before it, to be read."""
        return any(type(each).__name__ == "DeltaChannel" for each in self.graph.channels.values())

    async def values_at(self, kept: CheckpointTuple) -> Mapping[str, Any]:
        """The state's channels at a checkpoint."""
        if self.builds_on:
            return values_of((await self.graph.aget_state(kept.config)).values)
        return kept.checkpoint["channel_values"]

    def context(self, question: Question) -> dict[str, Any] | None:
        """Of the request's metadata what the graph's `context_schema` has; None without any."""
        metadata = question.job.metadata
        return {key: metadata[key] for key in self._context_keys if key in metadata} or None

    def _watched(self, graph: Any, above: str, saver: Saver | None = None) -> Any:
        """A copy of the graph, its nodes and static subgraphs watched; the user's is kept."""
        if saver is None:
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
            shorten(nodes[name])
        return graph.copy({"nodes": nodes, **({} if saver is None else {"checkpointer": saver})})


def _messages(question: Question) -> list[BaseMessage]:
    job = question.job
    messages = [
        _MESSAGES[turn.role](turn.content, id=f"{job.id}:{n}")
        for n, turn in enumerate(() if question.head else question.history)
    ]
    return [*messages, HumanMessage(job.message, id=f"{job.id}:{len(messages)}")]


def _nobody_speaks(callers: list[str]) -> str:
    seen = f"these can call a model: {', '.join(callers)}" if callers else "none calls a model"
    return (
        f"no node of the graph speaks, so nothing is streamed; as far as can be seen, {seen}."
        ' Declare whose text is the answer, by metadata={"speaks": True} or SLUICE_SPEAKING_NODES'
    )


def _saver(new_saver: Callable[[], Saver | None] | None, needed: Asks) -> Saver | None:
    """Raises TypeError where it is needed and cannot be had."""
    if new_saver is None or needed == "never":
        return None
    try:
        saver = new_saver()
    except ImportError as error:
        if needed == "surely":
            raise TypeError(
                f"{_WAITS}: the extra `state` is not installed ({error.name})"
            ) from error
        return None
    if saver is None and needed == "surely":
        raise TypeError(
            f"{_WAITS}: no store here can; set SLUICE_STORE=sqlite:///… or SLUICE_DATABASE"
        )
    return saver


_WAITS = "the graph stops for a human, and what it knows must be kept until the answer"


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
    """Raises TypeError where it cannot have any."""
    try:
        return list(getattr(schema, "model_fields", None) or get_type_hints(schema))
    except TypeError as error:
        raise TypeError(f"a schema with fields is wanted, such as a TypedDict: {schema}") from error
