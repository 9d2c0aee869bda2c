"""The turns that a caller gives reach the graph as LangChain's messages, by their roles."""

from typing import TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langgraph.graph import START, StateGraph

from sluice.domain.chat import Question, Turn
from sluice.infrastructure.pipeline.graph import WatchedGraph
from tests.doubles import a_job


class State(TypedDict, total=False):
    messages: list[AnyMessage]


async def answer(state: State) -> State:
    return {"messages": state["messages"]}


def test_each_role_is_its_own_kind_of_message() -> None:
    graph = WatchedGraph(StateGraph(State).add_node("answer", answer).add_edge(START, "answer"))
    turns = [Turn("system", "Be brief."), Turn("user", "One?"), Turn("assistant", "1")]
    messages = graph.input(Question(a_job("Two?"), turns))["messages"]
    assert [(type(message), message.content) for message in messages] == [
        (SystemMessage, "Be brief."),
        (HumanMessage, "One?"),
        (AIMessage, "1"),
        (HumanMessage, "Two?"),
    ]
