"""Agents as LangChain and its packages build them, with the nodes that a user would name."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm
from pydantic import BaseModel

from sluice.domain.errors import PipelineError
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply, tool_call_deltas
from tests.doubles import ScriptedChatModel
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State


class Weather(BaseModel):
    city: str
    sunny: bool


@tool
def add(a: int, b: int) -> str:
    """Adds."""
    return str(a + b)


@tool(return_direct=True)
def look(city: str) -> str:
    """Looks out of the window."""
    return f"Sun in {city}"


ADDING = Reply.calling("add", {"a": 1, "b": 2})

# Deprecated by LangChain, and still what supervisors are made of.
pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")


def supervisor(path: Path, mode: Any = "last_message") -> Any:
    math = create_agent(path.chat_model(), [add], name="math")
    return create_supervisor([math], model=path.chat_model(), output_mode=mode).compile()


@pytest.mark.parametrize("mode", ["last_message", "full_history"])
@pytest.mark.parametrize("worker", ["math", "math/model"])
async def test_a_supervisors_workers_are_told_once_and_stay(
    path: Path, worker: str, mode: str
) -> None:
    path.model.script(
        Reply.calling("transfer_to_math", {}),
        ADDING,
        Reply(pieces=["It is ", "3. "]),
        Reply(pieces=["Three, ", "then."]),
    )
    told = await path.tell(
        lambda llm: supervisor(path, mode), speaking=frozenset({"supervisor/agent", worker})
    )
    assert told.done.answer == "It is 3. Three, then."
    heard = [(token.content, token.node) for token in told.tokens]
    assert heard == path.speaks * [
        ("It is ", "math/model"),
        ("3. ", "math/model"),
        ("Three, ", "supervisor/agent"),
        ("then.", "supervisor/agent"),
    ]


async def test_a_supervisor_whose_workers_are_silent_tells_its_own_words_only(path: Path) -> None:
    path.model.script(
        Reply.calling("transfer_to_math", {}), Reply(["SECRET"]), Reply(pieces=["Three."])
    )
    told = await path.tell(
        lambda llm: supervisor(path, "full_history"), speaking=frozenset({"supervisor/agent"})
    )
    assert told.done.answer == "Three."
    assert "SECRET" not in str(told.events)


async def test_the_phrase_of_a_hand_over_is_no_answer(path: Path) -> None:
    """A supervisor that ends without a word leaves it to its worker."""
    path.model.script(
        Reply.calling("transfer_to_math", {}), Reply(pieces=["It is 3."]), Reply(pieces=[])
    )
    told = await path.tell(lambda llm: supervisor(path), speaking=frozenset({"math"}))
    assert told.done.answer == "It is 3."


async def test_a_swarm_speaks_by_each_of_its_agents(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        over = create_handoff_tool(agent_name="bob")
        alice = create_agent(path.chat_model(), [over], name="alice")
        bob = create_agent(path.chat_model(), [add], name="bob")
        return create_swarm([alice, bob], default_active_agent="alice").compile()

    path.model.script(Reply.calling("transfer_to_bob", {}), ADDING, Reply(pieces=["It is ", "3."]))
    told = await path.tell(build, speaking=frozenset({"alice/model", "bob/model"}))
    assert told.done.answer == "It is 3."
    assert [t.content for t in told.tokens] == ["It is ", "3."] * path.speaks


@pytest.mark.parametrize("speaking", [(), ("model",)])
async def test_an_answer_that_a_model_gives_by_a_tool_is_its_json(
    path: Path, speaking: tuple[str]
) -> None:
    call = {"name": "Weather", "args": {"city": "Seoul", "sunny": True}, "id": "1"}
    model = ScriptedChatModel(says=[AIMessage("", tool_calls=[call])])
    told = await path.tell(
        lambda llm: create_agent(model, [], response_format=ToolStrategy(Weather)),
        speaking=frozenset(speaking),
    )
    assert told.done.answer == '{"city":"Seoul","sunny":true}'
    assert [t.content for t in told.tokens] == [told.done.answer] * path.speaks


async def test_an_answer_by_the_providers_own_format_is_its_json(path: Path) -> None:
    path.model.script(Reply(pieces=['{"city":"Seoul",', '"sunny":true}']))
    told = await path.tell(
        lambda llm: create_agent(path.chat_model(), [], response_format=ProviderStrategy(Weather)),
        speaking=frozenset({"model"}),
    )
    assert told.done.answer == '{"city":"Seoul","sunny":true}'
    assert [t.content for t in told.tokens] == [told.done.answer] * path.speaks


@pytest.mark.parametrize("speaking", [(), ("model",)])
async def test_the_result_of_a_tool_that_ends_the_turn_is_the_answer(
    path: Path, speaking: tuple[str]
) -> None:
    path.model.script(Reply.calling("look", {"city": "Seoul"}))
    told = await path.tell(
        lambda llm: create_agent(path.chat_model(), [look]), speaking=frozenset(speaking)
    )
    assert told.done.answer == "Sun in Seoul"


async def test_the_result_of_another_tool_never_is(path: Path) -> None:
    path.model.script(ADDING, Reply(pieces=["Three."]))
    told = await path.tell(
        lambda llm: create_react_agent(path.chat_model(), [add, look]),
        speaking=frozenset({"agent"}),
    )
    assert told.done.answer == "Three."
    assert [t.content for t in told.tokens] == ["Three."] * path.speaks


async def test_words_before_a_tool_are_told_once_and_stay(path: Path) -> None:
    both = Reply(["Let me see. ", *tool_call_deltas("add", {"a": 1, "b": 2})], "tool_calls")
    path.model.script(both, Reply(pieces=["Three."]))
    told = await path.tell(
        lambda llm: create_agent(path.chat_model(), [add]), speaking=frozenset({"model"})
    )
    assert told.done.answer == "Let me see. Three."
    assert [t.content for t in told.tokens] == ["Let me see. ", "Three."] * path.speaks


@pytest.mark.parametrize("config", [None, {"configurable": {"thread_id": "t"}}])
async def test_an_agent_inside_an_agents_tool_is_silent(path: Path, config: Any) -> None:
    """The nodes of both are called alike."""

    def build(llm: LLMClientPort) -> Any:
        expert: Any = create_agent(path.chat_model(), [add])

        @tool
        async def ask(question: str) -> str:
            """Asks an expert."""
            said = await expert.ainvoke({"messages": [("user", question)]}, config)
            return str(said["messages"][-1].text)

        return create_agent(path.chat_model(), [ask])

    path.model.script(
        Reply.calling("ask", {"question": "?"}),
        ADDING,
        Reply(["SECRET"]),
        Reply(pieces=["sa", "id"]),
    )
    told = await path.tell(build, speaking=frozenset({"model"}))
    assert "SECRET" not in str(told.events)
    assert [(t.content, t.node) for t in told.tokens] == path.speaks * [
        ("sa", "model"), ("id", "model"),
    ]  # fmt: skip
    assert told.stages == [
        *("+model", "-model", "+tools"),
        *("+tools/model", "-tools/model", "+tools/tools", "-tools/tools"),
        *("+tools/model", "-tools/model", "-tools", "+model", "-model"),
    ]


@pytest.mark.parametrize("config", [None, {"configurable": {"thread_id": "t"}}])
@pytest.mark.parametrize("handed", ["all", "last"])
async def test_a_direct_result_of_an_agent_that_a_node_runs_by_itself_is_the_answer(
    path: Path, handed: str, config: Any
) -> None:
    async def answer(state: State) -> dict[str, Any]:
        agent: Any = create_agent(path.chat_model(), [add, look])
        said = (await agent.ainvoke({"messages": [("user", "Look")]}, config))["messages"]
        return {"messages": said if handed == "all" else said[-1:]}

    path.model.script(Reply.calling("look", {"city": "Seoul"}))
    told = await path.tell(lambda llm: graphs.chain(("answer", answer, SPEAKS)))
    assert told.done.answer == "Sun in Seoul"
    assert [t.content for t in told.tokens] == ["Sun in Seoul"] * path.speaks


async def test_a_result_that_an_agent_which_a_node_runs_goes_on_from_is_no_answer(
    path: Path,
) -> None:
    async def answer(state: State) -> dict[str, Any]:
        agent: Any = create_agent(path.chat_model(), [add, look])
        said = await agent.ainvoke({"messages": [("user", "Add")]})
        return {"messages": said["messages"][:-1]}

    path.model.script(ADDING, Reply(pieces=["It is 3."]))
    await path.fail(lambda llm: graphs.chain(("answer", answer, {})), PipelineError)
