"""The doubles for users' tests behave as the service does."""

from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from sluice import LLMClientPort, PipelineError, ToolCall, UpstreamRateLimited
from sluice.domain.events import Done, StageCompleted, StageStarted
from sluice.testing import ScriptedLLM, run_graph


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    metadata: dict[str, Any]
    answer: str


def build(llm: LLMClientPort) -> StateGraph[State]:
    async def classify(state: State) -> State:
        return {"answer": await llm.complete(state["message"])}

    async def answer(state: State) -> State:
        asked = f"{state['answer']} {len(state['messages'])} {state['metadata'].get('tone')}"
        return {"answer": "".join([piece async for piece in llm.stream(asked)])}

    return (
        StateGraph(State)
        .add_node("classify", classify, metadata={"stage": False})
        .add_node("answer", answer, metadata={"speaks": True})
        .add_edge(START, "classify")
        .add_edge("classify", "answer")
    )


async def test_a_run_tells_what_the_user_would_hear_and_nothing_of_a_silent_node() -> None:
    llm = ScriptedLLM("question", ["Be", "cause"])
    run = await run_graph(
        build, "Why?", llm, history=[("user", "Hi"), ("assistant", "Hello")], metadata={"tone": "x"}
    )
    assert run.answer == "Because"
    assert [(token.content, token.node) for token in run.tokens] == [
        ("Be", "answer"),
        ("cause", "answer"),
    ]
    stages = [e for e in run.events if isinstance(e, StageStarted | StageCompleted)]
    assert {stage.stage for stage in stages} == {"answer"}
    assert isinstance(run.events[-1], Done)
    assert llm.prompts == [("Why?", None), ("question 3 x", None)]


async def test_a_node_that_is_not_declared_speaks_if_it_is_named() -> None:
    llm = ScriptedLLM("question", "Because")
    undeclared = build(llm)
    undeclared.nodes["answer"].metadata = None
    silent = await run_graph(lambda _: undeclared, "Why?", llm)
    llm.replies.extend(["question", "Because"])
    named = await run_graph(lambda _: undeclared, "Why?", llm, speaking_nodes=["answer"])
    assert [token.node for token in silent.tokens] == [""]
    assert [token.node for token in named.tokens] == ["answer"]


async def test_a_run_ends_as_its_job_would() -> None:
    with pytest.raises(UpstreamRateLimited):
        await run_graph(build, "Why?", ScriptedLLM("question", ["Be", UpstreamRateLimited()]))
    with pytest.raises(PipelineError):
        await run_graph(build, "Why?", ScriptedLLM("question"))


async def test_a_tool_call_is_played_and_structured_replies_are_read() -> None:
    llm = ScriptedLLM(ToolCall("find", {"what": "sand"}), "nothing to find")
    assert await llm.call_tool("Find", []) == ToolCall("find", {"what": "sand"})
    assert await llm.call_tool("Find", []) == "nothing to find"
