"""A graph that declares no speaker: whose text is for the user cannot be seen from outside."""

from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from sluice import LLMClientPort


def build(llm: LLMClientPort) -> StateGraph[Any]:
    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", await llm.complete(str(state["messages"][-1].text)))]}

    return StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
