"""On no wire, at no time: prompts, retrieved passages, what silent nodes say, the graph's state.

One job of a real graph, watched through every route of every served protocol while it runs, while
it waits for a human, and when it is over. What only begins jobs begins others of the same graph.
"""

import asyncio
import operator
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from fastapi import APIRouter
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

from sluice.interfaces.protocols.served import PROTOCOLS
from sluice.offline_model.replies import Gate, Reply
from sluice.offline_model.server import OfflineModel
from tests.http.whole import Whole, whole_service
from tests.paths.graphs import joined

CANARIES = {
    "a system prompt": "CANARY-PROMPT",
    "a retrieved passage": "CANARY-PASSAGE",
    "a silent node's text": "CANARY-TEXT",
    "a silent node's reasoning": "CANARY-THOUGHT",
    "a silent node's tool": "CANARY-TOOL",
    "what a silent node writes": "CANARY-WRITTEN",
    "the graph's state": "CANARY-STATE",
    "a message in the graph's state": "CANARY-MESSAGE",
}
FIRST, LAST = "plain ", "bottles"
CHANNELS = ["values", "checkpoints", "lifecycle", "input", "messages", "tools", "custom", "updates"]
MODES = "&".join(
    f"stream_mode={mode}" for mode in ("values", "messages", "custom", "updates", "debug", "tasks")
)
SNAPSHOT, STREAM, ASK = "snapshot", "stream", "ask"


class State(TypedDict, total=False):
    message: str
    messages: Annotated[list[AnyMessage], add_messages]
    passages: Annotated[list[str], operator.add]
    label: str
    notes: str
    answer: str


@tool
async def look(at: str) -> str:
    """Looks."""
    return at


def build(llm: Any) -> Any:
    prompt = {"role": "system", "content": CANARIES["a system prompt"]}

    async def classify(state: State) -> State:
        writer = get_stream_writer()
        for key in ("token", "data", "anything"):
            writer({key: CANARIES["what a silent node writes"]})
        said = await joined(llm.stream([prompt, {"role": "user", "content": "classify"}]))
        return {"label": said, "notes": CANARIES["the graph's state"]}

    async def retrieve(state: State) -> State:
        found = await look.ainvoke({"at": CANARIES["a silent node's tool"]})
        hidden = CANARIES["a message in the graph's state"]
        messages: list[AnyMessage] = [SystemMessage(hidden), AIMessage(hidden + found)]
        return {"passages": [CANARIES["a retrieved passage"]], "messages": messages}

    async def answer(state: State) -> State:
        given = {"role": "system", "content": "\n".join(state["passages"])}
        said = [prompt, given, {"role": "user", "content": state["message"]}]
        return {"answer": await joined(llm.stream(said))}

    async def confirm(state: State) -> State:
        if state["message"] == "Ask me":
            interrupt("Really?")
        return {}

    graph = StateGraph(State)
    graph.add_node("classify", classify)
    graph.add_node("retrieve", retrieve)
    graph.add_node("answer", answer, metadata={"speaks": True, "tools": True, "reasoning": True})
    graph.add_node("confirm", confirm)
    for before, after in (
        (START, "classify"), ("classify", "retrieve"), ("retrieve", "answer"), ("answer", "confirm")
    ):  # fmt: skip
        graph.add_edge(before, after)
    return graph


def asks(text: str) -> Any:
    return lambda body: body["messages"][-1]["content"] == text


def v1(text: str) -> dict[str, Any]:
    messages = [{"type": "human", "content": text}]
    modes = ["values", "messages-tuple", "custom", "updates", "debug", "tasks"]
    return {"assistant_id": "a", "input": {"messages": messages}, "stream_mode": modes}


def ag_ui(run: str, text: str = "Why?") -> dict[str, Any]:
    return {"threadId": "t", "runId": run, "messages": [{"role": "user", "content": text}]}


AI_SDK = {
    "id": "other",
    "messages": [{"role": "user", "parts": [{"type": "text", "text": "Why?"}]}],
}
COMPLETION = {"model": "sluice", "messages": [{"role": "user", "content": "Why?"}]}
RESPONSE = {"model": "sluice", "input": "Why?"}
Request = tuple[str, str, Any]
"""When it can be read whole, how it is asked, and its body."""
READS: Mapping[str, list[Request]] = {
    "GET /api/v1/chat/{job_id}/events": [(STREAM, "/api/v1/chat/{job}/events", None)],
    "POST /api/v1/chat": [(ASK, "/api/v1/chat", {"message": "Why?"})],
    "POST /api/v1/chat/{chat_id}/messages": [
        (ASK, "/api/v1/chat/{chat}/messages", {"message": "Why?"})
    ],
    "GET /langgraph/threads/{thread}": [(SNAPSHOT, "/langgraph/threads/t", None)],
    "GET /langgraph/threads/{thread}/state": [(SNAPSHOT, "/langgraph/threads/t/state", None)],
    "POST /langgraph/threads/{thread}/history": [(SNAPSHOT, "/langgraph/threads/t/history", {})],
    "POST /langgraph/threads/search": [(SNAPSHOT, "/langgraph/threads/search", {})],
    "GET /langgraph/threads/{thread}/runs/{job_id}": [
        (SNAPSHOT, "/langgraph/threads/t/runs/{job}", None)
    ],
    "GET /langgraph/threads/{thread}/runs/{job_id}/stream": [
        (STREAM, "/langgraph/threads/t/runs/{job}/stream?" + MODES, None)
    ],
    "GET /langgraph/threads/{thread}/runs/{job_id}/join": [
        (STREAM, "/langgraph/threads/t/runs/{job}/join", None)
    ],
    "POST /langgraph/threads/{thread}/stream/events": [
        (STREAM, "/langgraph/threads/t/stream/events", {"channels": CHANNELS})
    ],
    "POST /langgraph/runs/stream": [(ASK, "/langgraph/runs/stream", v1("Why?"))],
    "POST /langgraph/threads/{thread}/runs/stream": [
        (ASK, "/langgraph/threads/t/runs/stream", v1("Why?"))
    ],
    "POST /langgraph/threads/{thread}/runs": [(ASK, "/langgraph/threads/t/runs", v1("Why?"))],
    "POST /v1/chat/completions": [
        (ASK, "/v1/chat/completions", COMPLETION | {"stream": True}),
        (ASK, "/v1/chat/completions", COMPLETION),
    ],
    "POST /v1/responses": [
        (ASK, "/v1/responses", RESPONSE | {"stream": True}), (ASK, "/v1/responses", RESPONSE)
    ],
    "GET /v1/responses/{job_id}": [
        (SNAPSHOT, "/v1/responses/{job}", None), (STREAM, "/v1/responses/{job}?stream=true", None)
    ],
    "POST /api/chat": [(ASK, "/api/chat", AI_SDK)],
    "GET /api/chat/{id:path}/stream": [(STREAM, "/api/chat/t/stream", None)],
    "POST /ag-ui": [(ASK, "/ag-ui", ag_ui("r1"))],
    "GET /ag-ui": [
        (SNAPSHOT, "/ag-ui?threadId=t", None), (STREAM, "/ag-ui?threadId=t&runId={job}", None)
    ],
    "POST /copilotkit/agent/default/run": [(ASK, "/copilotkit/agent/default/run", ag_ui("r2"))],
    "POST /copilotkit/agent/default/connect": [
        (STREAM, "/copilotkit/agent/default/connect", ag_ui("r3"))
    ],
}  # fmt: skip
OURS: Mapping[str, list[Request]] = {
    "GET /api/v1/jobs": [(SNAPSHOT, "/api/v1/jobs/{job}", None)],
    "GET /api/v1/chats": [(SNAPSHOT, "/api/v1/chat", None)],
    "GET /api/v1/chat": [(SNAPSHOT, "/api/v1/chat/{chat}", None)],
    "GET /metrics": [(SNAPSHOT, "/metrics", None)],
}
TELL_NOTHING_OF_A_JOB = {
    "HEAD /api/v1/chat/{job_id}/events",
    "GET /langgraph/info", "GET /langgraph/ok", "POST /langgraph/assistants/search",
    "GET /langgraph/assistants/{assistant}", "POST /langgraph/threads",
    "PATCH /langgraph/threads/{thread}", "DELETE /langgraph/threads/{thread}",
    "POST /langgraph/threads/{thread}/commands",
    "POST /langgraph/threads/{thread}/runs/{job_id}/cancel",
    "GET /v1/models", "GET /v1/models/{model:path}", "POST /v1/responses/{job_id}/cancel",
    "POST /api/chat/{id:path}/stop",
    "GET /copilotkit/info", "POST /copilotkit/agent/default/stop/{thread}",
}  # fmt: skip

WITHOUT_TEXT = {
    "GET /langgraph/threads/{thread}/runs/{job_id} 0",
    "GET /api/v1/chats 0",
    "GET /metrics 0",
}


def routes_of(router: APIRouter, prefix: str = "") -> Iterator[str]:
    for route in router.routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from routes_of(inner, prefix + router.prefix)
        else:
            yield from (f"{method} {prefix}{route.path}" for method in route.methods)  # type: ignore[attr-defined]


def test_every_route_of_every_protocol_is_read_or_has_nothing_to_tell() -> None:
    served = {route for router in PROTOCOLS.values() for route in routes_of(router)}
    assert served == READS.keys() | TELL_NOTHING_OF_A_JOB


class Reader:
    """Reads routes whole, and finds no canary in what they say."""

    def __init__(
        self, service: Whole, job: str, chat: str, canaries: Mapping[str, str] = CANARIES
    ) -> None:
        self._client, self._names = service.client, {"job": job, "chat": chat}
        self._canaries = canaries

    async def read(self, *kinds: str) -> dict[str, str]:
        told = {}
        for route, requests in {**READS, **OURS}.items():
            for number, (kind, path, body) in enumerate(requests):
                if kind in kinds:
                    told[f"{route} {number}"] = await self._whole(route, path, body)
        for where, text in told.items():
            for what, canary in self._canaries.items():
                assert canary not in text, f"{what} is told by {where}"
        return told

    async def _whole(self, route: str, path: str, body: Any) -> str:
        path = path.replace("{job}", self._names["job"]).replace("{chat}", self._names["chat"])
        accepts = {"Accept": "text/event-stream"} if path.startswith("/api/v1/chat") else {}
        request = self._client.stream(route.split()[0], path, json=body, headers=accepts)
        async with request as answer:
            text = f"{answer.headers}\n"
            async for line in answer.aiter_lines():
                text += f"{line}\n"
                if path.endswith("stream/events") and '"event":"completed"' in line:
                    break  # it stays open for the thread's next run
            assert answer.status_code < 300, (route, text)
        return text


@pytest.fixture
async def service(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch, no_settings: None, tmp_path: Path
) -> AsyncIterator[Whole]:
    store = f"sqlite:///{tmp_path}/sluice.db"
    async with whole_service(build, model, monkeypatch, store=store, state="graph") as service:
        yield service


async def test_nothing_that_is_not_said_to_the_user_is_on_any_wire(
    service: Whole, model: OfflineModel, tmp_path: Path
) -> None:
    gate = Gate()
    thought = {"reasoning_content": CANARIES["a silent node's reasoning"]}
    model.script_when(asks("classify"), Reply(pieces=[thought, CANARIES["a silent node's text"]]))
    model.script_when(asks("Why?"), Reply(pieces=[FIRST, LAST]))
    model.script_when(asks("Ask me"), Reply(pieces=[FIRST, LAST], hold_after=1, gate=gate))
    asked = {"message": "Ask me", "session_id": "t"}
    begun = (await service.client.post("/api/v1/chat", json=asked)).json()
    job, reader = begun["job_id"], Reader(service, begun["job_id"], begun["chat_id"])
    await gate.reached()
    await state_of(service, job, "running")
    assert FIRST in (await reader.read(SNAPSHOT))["POST /langgraph/threads/{thread}/history 0"]
    gate.release()
    await state_of(service, job, "waiting")
    pending = (await service.client.get("/ag-ui?threadId=t")).json()["interrupts"]["pending"]
    await reader.read(SNAPSHOT)
    answer = {"input_id": pending[0]["id"], "value": "yes"}
    given = await service.client.post(f"/api/v1/chat/{job}/input", json=answer)
    assert given.status_code == 202, given.text
    await state_of(service, job, "completed")
    over = await reader.read(SNAPSHOT, STREAM)
    assert {where for where, text in over.items() if LAST not in text} == WITHOUT_TEXT
    # What begins jobs comes last: each is the newest of its chat.
    told = await reader.read(ASK)
    quiet = {where for where, text in told.items() if LAST not in text}
    assert quiet == {"POST /langgraph/threads/{thread}/runs 0"}
    sent = str([received.body for received in model.requests])
    for what in ("a system prompt", "a retrieved passage"):
        assert CANARIES[what] in sent
    kept = bytes_in(tmp_path)
    for what in ("the graph's state", "a message in the graph's state", "a silent node's tool"):
        assert CANARIES[what].encode() in kept


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def state_of(service: Whole, job: str, status: str) -> Any:
    async with asyncio.timeout(5):
        while True:
            shown = (await service.client.get(f"/api/v1/jobs/{job}")).json()
            if shown["status"] == status:
                return shown
            await asyncio.sleep(0.01)
