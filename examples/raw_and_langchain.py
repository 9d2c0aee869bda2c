"""A graph that streams from two clients: the raw OpenAI SDK, and a LangChain chat model.

`answer` calls the SDK by itself. LangGraph cannot see such a call, so the node hands each
piece to `get_stream_writer()` as `{"token": …}`, which works everywhere; Sluice hears the SDK
too, and tells each piece once. `follow_up` calls a LangChain model, which
needs nothing of the kind. Both say `metadata={"speaks": True}`; without it neither would
reach the user.

Run it, in one shell and in another, with the offline model in the place of OpenAI:

    .venv/bin/sluice model --port 8001

    export OPENAI_BASE_URL=http://127.0.0.1:8001/v1 OPENAI_API_KEY=none OPENAI_MODEL=offline
    .venv/bin/sluice serve --pipeline examples.raw_and_langchain:build

or with OPENAI_API_KEY and OPENAI_MODEL of your own, and then open http://127.0.0.1:8000.
"""

import os
from operator import add
from typing import Annotated, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from openai import AsyncOpenAI

from sluice import LLMClientPort
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream


class State(TypedDict, total=False):
    message: str
    answer: Annotated[str, add]  # each node adds its part; together they are the answer


def build(llm: LLMClientPort) -> StateGraph[State]:  # noqa: ARG001 -- it brings its own clients
    sdk = AsyncOpenAI()
    model = os.environ["OPENAI_MODEL"]
    upstream = Upstream(str(sdk.base_url), sdk.api_key, model)
    # Any LangChain chat model will do, `ChatOpenAI(model=model)` for one; this one comes along.
    chat = LangChainOpenAIRunnable(completions=ChatCompletions(upstream))

    async def answer(state: State) -> State:
        write = get_stream_writer()
        said, finish_reason = "", None
        chunks = await sdk.chat.completions.create(
            model=model, messages=[{"role": "user", "content": state["message"]}], stream=True
        )
        async with chunks:  # closes the connection when the run is cancelled
            async for chunk in chunks:
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    if text := choice.delta.content:
                        write({"token": text})
                        said += text
        if finish_reason is None:  # the SDK raises nothing when an answer ends half way
            raise ConnectionError("the answer was cut off")
        write({"token": "\n\n"})
        return {"answer": said + "\n\n"}

    async def follow_up(state: State) -> State:
        ask = f"Suggest one short question that could follow this answer:\n{state['answer']}"
        said = await chat.ainvoke(ask)  # is streamed all the same: LangGraph listens
        return {"answer": said.text}

    return (
        StateGraph(State)
        .add_node("answer", answer, metadata={"speaks": True})
        .add_node("follow_up", follow_up, metadata={"speaks": True})
        .add_edge(START, "answer")
        .add_edge("answer", "follow_up")
    )
