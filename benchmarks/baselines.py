"""What a user could write instead of Sluice, each as a server of its own.

`python -m benchmarks.baselines NAME`, with the upstream in `OPENAI_BASE_URL`:

- `passthrough`: the raw SDK in a StreamingResponse, no graph.
- `naive`: ChatOpenAI in a graph of one node, `stream_mode="messages"`, sse-starlette.
- `naive_agent`: the same with `create_agent` and a tool in the node's place.

Both are FastAPI on uvicorn, uvloop and httptools, with uvicorn's defaults.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from openai import AsyncOpenAI
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from benchmarks.graph import agent


class Ask(BaseModel):
    message: str


def passthrough() -> FastAPI:
    client = AsyncOpenAI()
    app = FastAPI()

    async def answer(ask: Ask) -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": ask.message}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                yield text

    @app.post("/chat")
    async def chat(ask: Ask) -> StreamingResponse:
        async def frames() -> AsyncIterator[str]:
            async for text in answer(ask):
                yield f"data: {json.dumps({'content': text})}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(frames(), media_type="text/event-stream")

    return app


def naive() -> FastAPI:
    model = ChatOpenAI(model="m")

    async def answer(state: MessagesState) -> dict[str, object]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return _streaming(
        StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
    )


def naive_agent() -> FastAPI:
    return _streaming(agent())


def _streaming(graph: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/chat")
    async def chat(ask: Ask) -> EventSourceResponse:
        async def events() -> AsyncIterator[dict[str, str]]:
            question = MessagesState(messages=[HumanMessage(ask.message)])
            async for chunk, _ in graph.astream(question, stream_mode="messages"):
                if isinstance(chunk, AIMessageChunk) and chunk.content:
                    yield {"event": "token", "data": json.dumps({"content": chunk.content})}
            yield {"data": "[DONE]"}

        return EventSourceResponse(events())

    return app


APPS = {"passthrough": passthrough, "naive": naive, "naive_agent": naive_agent}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    app = APPS[sys.argv[1]]()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
