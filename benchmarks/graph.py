"""The graphs under test: one node that answers, by Sluice's client or by the user's own."""

from typing import TYPE_CHECKING, Any, TypedDict

from langgraph.graph import START, StateGraph

if TYPE_CHECKING:
    from sluice.domain.ports import LLMClientPort


class State(TypedDict, total=False):
    message: str
    answer: str


def build(llm: "LLMClientPort") -> "StateGraph[State, None, State, State]":
    async def answer(state: State) -> State:
        return {"answer": "".join([text async for text in llm.stream(state["message"])])}

    return _of(answer)


def chatopenai(_: "LLMClientPort") -> "StateGraph[State, None, State, State]":
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m")

    async def answer(state: State) -> State:
        return {"answer": (await model.ainvoke(state["message"])).text}

    return _of(answer)


def raw_sdk(_: "LLMClientPort") -> "StateGraph[State, None, State, State]":
    from openai import AsyncOpenAI

    client = AsyncOpenAI()

    async def answer(state: State) -> State:
        asked: Any = [{"role": "user", "content": state["message"]}]
        said = ""
        async for chunk in await client.chat.completions.create(
            model="m", messages=asked, stream=True
        ):
            said += chunk.choices[0].delta.content or ""
        return {"answer": said}

    return _of(answer)


def agent(_: "LLMClientPort | None" = None) -> object:
    """The model calls the tool, and answers with what it has got."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}"

    return create_agent(ChatOpenAI(model="m"), [weather])


def _of(
    answer: Any,
) -> "StateGraph[State, None, State, State]":
    builder = StateGraph(State)
    builder.add_node("answer", answer, metadata={"speaks": True})
    builder.add_edge(START, "answer")
    return builder
