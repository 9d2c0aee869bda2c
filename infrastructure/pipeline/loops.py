"""Whether a graph may run a node again: then having run all of them is not the end."""

from collections.abc import Iterable, Iterator
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sluice.infrastructure.pipeline.model_callers import names_in


def has_loop(graph: CompiledStateGraph[Any, Any, Any, Any]) -> bool:
    """Where a node may go is not always declared: one that does not say may go to any."""
    nodes = list(graph.builder.nodes)
    after = {node: set(_after(graph.builder, node, nodes)) for node in nodes}
    return any(node in _reachable(after, node) for node in nodes)


def _after(builder: Any, node: str, nodes: list[str]) -> Iterator[str]:
    yield from (end for start, end in builder.edges if start == node)
    yield from (end for starts, end in builder.waiting_edges if node in starts)
    for branch in builder.branches.get(node, {}).values():
        yield from nodes if branch.ends is None else branch.ends.values()
    spec = builder.nodes[node]
    if ends := spec.ends:
        yield from ends
    elif any(names_in(function, "Command") for function in _functions(spec.runnable)):
        yield from nodes


def _functions(runnable: Any) -> Iterator[Any]:
    """Of a graph, those of its nodes: they may hand over to the graph above."""
    if isinstance(runnable, Pregel):
        for node in runnable.nodes.values():
            yield from _functions(node.bound)
    else:
        yield getattr(runnable, "func", None)
        yield getattr(runnable, "afunc", None)


def _reachable(after: dict[str, set[str]], node: str) -> set[str]:
    reached: set[str] = set()
    waiting: Iterable[str] = after[node]
    while following := {each for each in waiting if each not in reached}:
        reached |= following
        waiting = {end for each in following for end in after.get(each, ())}
    return reached
