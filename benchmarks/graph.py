"""The graph under test, in Sluice and in the naive baseline alike: one node that answers."""

from typing import TYPE_CHECKING, TypedDict

from langgraph.graph import START, StateGraph

if TYPE_CHECKING:
    from sluice.domain.ports import LLMClientPort


class State(TypedDict, total=False):
    message: str
    answer: str


def build(llm: "LLMClientPort") -> "StateGraph[State, None, State, State]":
    async def answer(state: State) -> State:
        return {"answer": "".join([text async for text in llm.stream(state["message"])])}

    builder = StateGraph(State)
    builder.add_node("answer", answer, metadata={"speaks": True})
    builder.add_edge(START, "answer")
    return builder
