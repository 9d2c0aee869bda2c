"""A graph whose first nodes are triggered by its input, and not by a step that hands that on.

LangGraph's runs begin with a step in which a node of its own, `__start__`, writes the input into
the state's channels and triggers the first nodes: a quarter of what a run of one node costs. Where
nobody could tell the difference the run begins with that node's writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.tracers.context import _tracing_v2_is_enabled
from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

from sluice.infrastructure.pipeline.node_sequence import NodeSequence

_TRIGGER = "branch:to:{}"
"""LangGraph's name of the channel that triggers a node; what it keeps to itself may change."""


@dataclass(frozen=True, slots=True)
class DirectStart:
    graph: CompiledStateGraph[Any, Any, Any, Any]
    triggers: Mapping[str, None]

    def input(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """What `graph` is called with in place of the state."""
        return {**state, **self.triggers}


def direct_start(
    graph: CompiledStateGraph[Any, Any, Any, Any], keys: frozenset[str], *, steps: int
) -> DirectStart | None:
    """None where the step could be seen: in checkpoints, by a bound of `steps` that a run may
    reach, or by whoever else listens. `keys`: of the input's schema.

    `graph` has no loop, and its nodes are watched.
    """
    builder = graph.builder
    first = [end for start, end in builder.edges if start == START and end != END]
    triggers = dict.fromkeys(map(_TRIGGER.format, first))
    channels = [*keys, *triggers]
    nodes = {name: node for name, node in graph.nodes.items() if name != START}
    sequences = {
        name: node.node for name, node in nodes.items() if isinstance(node.node, NodeSequence)
    }
    if (
        graph.checkpointer
        or not first
        or not keys  # the state is one value, which that step writes
        or builder.branches.get(START)
        or builder.managed  # which tell of steps
        or steps <= len(nodes)
        or not all(channel in graph.channels for channel in channels)
        or len(sequences) < len(nodes)
        or (graph.config or {}).get("callbacks")
        or _tracing_v2_is_enabled()
    ):
        return None
    later = {name: node.copy({"subgraphs": node.subgraphs}) for name, node in nodes.items()}
    for name, sequence in sequences.items():
        later[name].node = sequence.one_step_later()
    return DirectStart(graph.copy({"nodes": later, "input_channels": channels}), triggers)
