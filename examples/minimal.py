"""The smallest graph of your own: `.venv/bin/sluice serve --pipeline examples.minimal:build`."""

from contextlib import aclosing
from typing import TypedDict

from langgraph.graph import START, StateGraph

from sluice import LLMClientPort


class State(TypedDict, total=False):
    message: str
    answer: str


def build(llm: LLMClientPort) -> StateGraph[State]:
    async def answer(state: State) -> State:
        async with aclosing(llm.stream(state["message"])) as pieces:
            return {"answer": "".join([piece async for piece in pieces])}

    return (
        StateGraph(State)
        .add_node("answer", answer, metadata={"speaks": True})
        .add_edge(START, "answer")
    )
