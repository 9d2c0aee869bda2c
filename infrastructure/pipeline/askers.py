"""Which graphs stop to ask a human, found without running them."""

from types import MethodType
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import interrupt

from sluice.infrastructure.pipeline.model_callers import reaches

Asks = Literal["surely", "perhaps", "never"]
_MIDDLEWARE = "HumanInTheLoopMiddleware"


def asks(graph: Pregel[Any, Any, Any, Any]) -> Asks:
    """`perhaps`: it has a checkpointer, which may be for that. What is fetched by a name at run
    time is not seen.
    """
    if stops(graph) or any(reaches(node.bound, _asks) for node in graph.nodes.values()):
        return "surely"
    return "perhaps" if isinstance(graph.checkpointer, BaseCheckpointSaver) else "never"


def stops(graph: Pregel[Any, Any, Any, Any]) -> bool:
    """Whether it is compiled to stop before or after nodes, itself or a graph that is a node."""
    if graph.interrupt_before_nodes or graph.interrupt_after_nodes:
        return True
    inner = (node.bound for node in graph.nodes.values())
    return any(isinstance(each, Pregel) and stops(each) for each in inner)


def _asks(found: object) -> bool:
    owner = found.__self__ if isinstance(found, MethodType) else found
    kind = owner if isinstance(owner, type) else type(owner)  # or who makes one while it runs
    return found is interrupt or (
        kind.__name__ == _MIDDLEWARE and kind.__module__.startswith("langchain")
    )
