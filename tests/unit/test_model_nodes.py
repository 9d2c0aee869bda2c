"""Which nodes of a graph can call a model: by what its clients are, and by their names."""

from collections.abc import Callable
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.language_models import FakeListChatModel
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

from sluice.infrastructure.pipeline.model_callers import (
    agent_node,
    model_callers,
)
from tests.unit.small_graphs import State

MODEL = FakeListChatModel(responses=["x"])


class Llm:
    """As `LLMClientPort` has it."""

    def stream(self) -> None: ...
    def complete(self) -> None: ...
    def structured(self) -> None: ...
    def call_tool(self) -> None: ...


class AlmostLlm:
    def stream(self) -> None: ...
    def complete(self) -> None: ...
    def structured(self) -> None: ...


LLM, ALMOST = Llm(), AlmostLlm()
CLIENT = AsyncOpenAI(api_key="x")


def client_of(package: str, name: str) -> Any:
    return type(name, (), {"__module__": f"{package}.sub"})()


def of_its_name() -> Any:
    """Of no LangChain."""


of_its_name.__name__ = "init_chat_model"


def node_of(value: Any) -> Callable[[State], Any]:
    def node(state: State) -> Any:
        return value

    return node


def named_elsewhere(state: State) -> Any:
    return of_its_name()


def imported_by_name(state: State) -> Any:
    return AsyncAzureOpenAI()  # type: ignore[name-defined]  # noqa: F821


CALLS: dict[str, Any] = {
    "model": node_of(MODEL),
    "class": node_of(FakeListChatModel),
    "llm": node_of(LLM),
    "client": node_of(CLIENT),
    "resource": node_of(CLIENT.chat.completions),
    "create": node_of(CLIENT.chat.completions.create),
    "parse": node_of(CLIENT.responses.parse),
    "by name": node_of(init_chat_model),
    "invoke": node_of(MODEL.invoke),
    "anthropic": node_of(client_of("anthropic", "AsyncAnthropic")),
    "bedrock": node_of(client_of("anthropic", "AnthropicBedrock")),
    "messages": node_of(client_of("anthropic.resources", "AsyncMessages")),
    "groq": node_of(client_of("groq", "AsyncGroq")),
    "mistralai": node_of(client_of("mistralai", "Mistral")),
    "together": node_of(client_of("together", "AsyncTogether")),
    "cohere": node_of(client_of("cohere", "AsyncClientV2")),
    "ollama": node_of(client_of("ollama", "AsyncClient")),
    "named": imported_by_name,
}
QUIET: dict[str, Any] = {
    "almost": node_of(ALMOST),
    "type": node_of(Llm),
    "parts": node_of(client_of("openai", "Response")),
    "error": node_of(client_of("anthropic", "AnthropicError")),
    "others": node_of(client_of("others", "AsyncClient")),
    "own": named_elsewhere,
    "text": node_of("init_chat_model"),
}


def graph_of(nodes: dict[str, Any]) -> Any:
    graph = StateGraph(State)
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph.compile()


def test_the_nodes_that_can_call_a_model_are_found_and_no_other() -> None:
    graph = graph_of({**CALLS, **QUIET, "inner": graph_of({"model": CALLS["model"]})})
    assert set(model_callers(graph)) == {*CALLS, "inner/model"}
    assert set(model_callers(graph_of({"deep": graph}), "top/")) == {
        f"top/deep/{name}" for name in (*CALLS, "inner/model")
    }


def test_a_graph_of_ones_own_is_no_prebuilt_agent() -> None:
    def model_node(state: State) -> Any:
        return {}

    assert agent_node(graph_of({"model": model_node})) is None
    model_node.__module__ = "langchain.agents.factory"
    inner = graph_of({"first": CALLS["model"], "model": model_node})
    assert agent_node(inner) == "model"
    assert agent_node(graph_of({"inner": inner})) is None


def test_what_answers_for_a_node_that_failed_is_none_that_could_be_declared() -> None:
    graph = StateGraph(State)
    graph.add_node("quiet", QUIET["almost"], error_handler=CALLS["model"])
    graph.add_edge(START, "quiet")
    assert list(model_callers(graph.compile())) == []
