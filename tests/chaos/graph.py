"""The graph that chaos serves: its jobs are answered in turns by every kind of client."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

from sluice import LLMClientPort
from sluice.infrastructure.pipeline.bundled import build as bundled
from tests.chaos.upstream import number_of

Ask = Callable[[str], Awaitable[str]]


class State(TypedDict, total=False):
    message: str
    answer: str


class NoDocuments:
    def search(self, query: str, *, limit: int) -> Sequence[Any]:
        return []


def look(question: str) -> str:
    """What is asked for."""
    return question


def build(llm: LLMClientPort) -> StateGraph[Any]:
    ways = _ways(llm)

    async def answer(state: State) -> State:
        question = state["message"]
        return {"answer": await ways[number_of(question) % len(ways)](question)}

    graph = StateGraph(State).add_node("answer", answer, metadata={"speaks": True})
    return graph.add_edge(START, "answer")


def _ways(llm: LLMClientPort) -> list[Ask]:
    chat, sdk = ChatOpenAI(model="m"), AsyncOpenAI()
    agent: Any = create_agent(chat, [look])
    pipeline: Any = bundled(llm, NoDocuments()).compile()

    async def by_the_pipeline(question: str) -> str:
        asked = {"message": question, "messages": [HumanMessage(question)]}
        return str((await pipeline.ainvoke(asked))["answer"])

    async def by_llm(question: str) -> str:
        async with aclosing(llm.stream(question)) as texts:
            return "".join([text async for text in texts])

    async def by_sdk(question: str) -> str:
        messages: Any = [{"role": "user", "content": question}]
        said = ""
        async with await sdk.chat.completions.create(
            model="m", messages=messages, stream=True
        ) as chunks:
            async for chunk in chunks:
                for choice in chunk.choices:
                    said += choice.delta.content or ""
        return said

    async def by_chatopenai(question: str) -> str:
        return (await chat.ainvoke(question)).text

    async def by_agent(question: str) -> str:
        said = await agent.ainvoke({"messages": [("user", question)]})
        return str(said["messages"][-1].text)

    return [by_the_pipeline, by_llm, by_sdk, by_chatopenai, by_agent]
