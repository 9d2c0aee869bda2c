"""Which nodes can call a model, told before anything runs."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain.chat_models import init_chat_model
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm
from pydantic import SecretStr

from examples import minimal, raw_and_langchain
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.model_callers import agent_node, model_callers
from sluice.testing import ScriptedLLM
from tests.paths import graphs

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

CHAT = ChatOpenAI(model="m", api_key=SecretStr("x"))
CLIENT = openai.AsyncOpenAI(api_key="x")
CREATE = CLIENT.chat.completions.create


@tool
def add(a: int) -> int:
    """Adds one."""
    return a + 1


@tool
def ask_another(question: str) -> str:
    """Asks."""
    return CHAT.invoke(question).text


class Service:
    def __init__(self) -> None:
        self.model, self.name = CHAT, "service"

    async def ask(self, state: Any) -> Any:
        return await self._asked()

    async def _asked(self) -> Any:
        return {"messages": [await self.model.ainvoke("x")]}

    def quiet(self, state: Any) -> Any:
        return {"notes": [self.name]}


class CallableNode:
    def __init__(self) -> None:
        self.model = CHAT.with_config(tags=["a"])

    def __call__(self, state: Any) -> Any:
        return {"messages": [self.model.invoke("x")]}


async def builds_its_client(state: Any) -> Any:
    return await openai.AsyncOpenAI().chat.completions.create(model="m", messages=[])


async def imports_in_itself(state: Any) -> Any:
    from langchain_openai import ChatOpenAI as Chat

    return await Chat(model="m").ainvoke("x")


async def by_a_kept_method(state: Any) -> Any:
    return await CREATE(model="m", messages=[])


async def through_another(state: Any) -> Any:
    return await builds_its_client(state)


def by_its_name(state: Any) -> Any:
    return init_chat_model("openai:m").invoke("x")


def of_a_table(state: Any) -> Any:
    return {"models": {"m": CHAT}}["models"]["m"].invoke("x")


def by_an_agent(state: Any) -> Any:
    return AGENT.invoke(state)


class Unbound:
    """A proxy that has nothing to stand for yet."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


PROXY: Any = Unbound()


def nothing(state: Any) -> Any:
    return {"notes": [PROXY.name]}


AGENT = create_agent(CHAT, [add])
CALLING: dict[str, Any] = {
    "method": Service().ask,
    "callable": CallableNode(),
    "chain": CHAT | (lambda message: {"messages": [message]}),
    "builds": builds_its_client,
    "imports": imports_in_itself,
    "kept": by_a_kept_method,
    "through": through_another,
    "named": by_its_name,
    "table": of_a_table,
    "agent": by_an_agent,
}
QUIET: dict[str, Any] = {"nothing": nothing, "quiet": Service().quiet}


def swarm() -> Any:
    alice = create_agent(CHAT, [create_handoff_tool(agent_name="bob")], name="alice")
    return create_swarm([alice, create_agent(CHAT, name="bob")], default_active_agent="alice")


PREBUILT: dict[str, tuple[Callable[[], Any], str | None, list[str]]] = {
    "agent": (lambda: AGENT, "model", ["model"]),
    "agent without tools": (lambda: create_agent(CHAT), "model", ["model"]),
    "agent that asks in a tool": (
        lambda: create_agent(CHAT, [ask_another]),
        "model",
        ["model", "tools"],
    ),
    "summarizing agent": (
        lambda: create_agent(CHAT, [add], middleware=[SummarizationMiddleware(CHAT)]),
        "model",
        ["SummarizationMiddleware.before_model", "model"],
    ),
    "react agent": (lambda: create_react_agent(CHAT, [add]), "agent", ["agent"]),
    "supervisor": (
        lambda: create_supervisor([create_agent(CHAT, name="math")], model=CHAT).compile(),
        None,
        ["math", "supervisor/agent"],
    ),
    "swarm": (lambda: swarm().compile(), None, ["alice/model", "bob/model"]),
    "agent as a node": (
        lambda: graphs.chain(("helper", AGENT, {})).compile(),
        None,
        ["helper/model"],
    ),
    "minimal": (lambda: minimal.build(ScriptedLLM()).compile(), None, ["answer"]),
}


@pytest.mark.parametrize("name", PREBUILT)
def test_a_prebuilt_graphs_model_nodes_are_found(name: str) -> None:
    build, agent, callers = PREBUILT[name]
    graph = build()
    assert (agent_node(graph), sorted(model_callers(graph))) == (agent, callers)


def test_every_node_that_can_call_a_model_is_found_and_no_other() -> None:
    graph: Any = StateGraph(MessagesState)
    for name, node in {**CALLING, **QUIET}.items():
        graph.add_node(name, node)
        graph.add_edge(START, name)
    assert set(model_callers(graph.compile())) == set(CALLING)


def test_an_example_names_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    monkeypatch.setenv("OPENAI_MODEL", "m")
    graph = raw_and_langchain.build(ScriptedLLM()).compile()
    assert sorted(model_callers(graph)) == sorted(set(graph.nodes) - {START})


def test_an_agent_speaks_by_its_model_unless_something_is_declared() -> None:
    assert WatchedGraph(AGENT).visibility.declared("model").speaks
    named = WatchedGraph(AGENT, frozenset({"tools"}))
    assert not named.visibility.declared("model").speaks
    assert [*named.notices] == []
