"""The graph that answers: the user's own, or the bundled one."""

from collections.abc import Callable
from importlib import import_module
from inspect import iscoroutine
from pathlib import Path

from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.pipeline import bundled
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.visibility import Named, UnknownNodeError, Word
from sluice.infrastructure.retrieval.documents import Documents
from sluice.infrastructure.settings import Settings, WrongSetting

_SETTINGS: dict[Word, str] = {
    "speaks": "SLUICE_SPEAKING_NODES",
    "tools": "SLUICE_TOOL_NODES",
    "reasoning": "SLUICE_REASONING_NODES",
    "data": "SLUICE_DATA_NODES",
}
GraphFactory = Callable[[LLMClientPort], object]


def factory_of(settings: Settings) -> GraphFactory:
    """The user's own graph factory, or the bundled one. Raises WrongSetting."""
    if settings.pipeline is None:
        try:
            documents = Documents(settings.documents or bundled_documents())
        except ValueError as error:
            raise WrongSetting(f"SLUICE_DOCUMENTS: {error}") from error
        return lambda llm: (
            bundled.build(llm, documents).compile().with_config(metadata={"shadow_safe": True})
        )
    module, _, name = settings.pipeline.partition(":")
    try:
        factory: GraphFactory = getattr(import_module(module), name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise WrongSetting(f"SLUICE_PIPELINE: {_told(error)}") from error
    return factory


def graph_of(
    settings: Settings,
    factory: GraphFactory,
    llm: LLMClientPort,
    new_saver: Callable[[], Saver | None],
) -> WatchedGraph:
    """Calls the factory, once per path. Raises WrongSetting."""
    try:
        graph = factory(llm)
    except Exception as error:  # like the import: the user's code
        raise WrongSetting(f"SLUICE_PIPELINE: {_told(error)}") from error
    if iscoroutine(graph):
        graph.close()  # else Python adds a line of its own: that nobody has awaited it
        raise WrongSetting("SLUICE_PIPELINE: the factory is async, and a plain function is wanted")
    try:
        keeps = settings.state == "graph"
        return WatchedGraph(graph, named_by(settings), new_saver, keeps=keeps)
    except TypeError as error:
        raise WrongSetting(f"SLUICE_PIPELINE: {error}") from error
    except UnknownNodeError as error:
        raise WrongSetting(f"{_SETTINGS[error.word]}: {error}") from error


def shadow_of(graph: WatchedGraph) -> WatchedGraph:
    """Raises WrongSetting for a graph that may not run in the shadow."""
    if not graph.shadow_safe:
        raise WrongSetting(
            "SLUICE_SHADOW: the graph does not say that a second run of a question does no harm;"
            " if no node writes, sends or buys anything, have SLUICE_PIPELINE return"
            ' graph.compile().with_config(metadata={"shadow_safe": True}), else set 0%'
        )
    if graph.stops:
        raise WrongSetting(
            "SLUICE_SHADOW: the graph is compiled to stop for a human, and a shadow asks nobody:"
            " set 0%"
        )
    return graph.shadow()


def named_by(settings: Settings) -> Named:
    return {
        "speaks": frozenset(settings.speaking_nodes),
        "tools": frozenset(settings.tool_nodes),
        "reasoning": frozenset(settings.reasoning_nodes),
        "data": frozenset(settings.data_nodes),
    }


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def bundled_documents() -> Path:
    """Sluice's own docs: inside the wheel, or beside the packages in a checkout."""
    layer = Path(__file__).resolve().parents[1]
    inside = layer / "retrieval" / "docs"
    return inside if inside.is_dir() else layer.parent / "docs"
