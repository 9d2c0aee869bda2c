"""A shadow is on no wire, in no chat, no log and no store: while it runs, and when it is over.

Every route of every served protocol is read, with a real graph, on sockets.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.offline_model.replies import Gate, Piece, Reply
from sluice.offline_model.server import OfflineModel
from tests.http.protocols.test_silence import (
    ASK,
    FIRST,
    LAST,
    SNAPSHOT,
    STREAM,
    Reader,
    asks,
    bytes_in,
    state_of,
)
from tests.http.whole import Whole, whole_service
from tests.paths.graphs import joined

CANARIES = {
    "a shadow's text": "CANARY-TEXT",
    "a shadow's reasoning": "CANARY-THOUGHT",
    "a shadow's tool": "TOOL-OF-A",
    "a shadow's data": "DATA-OF-A",
    "a shadow's state": "STATE-OF-A",
}
SAFE = {"shadow_safe": True}


class State(TypedDict, total=False):
    message: str
    messages: list[AnyMessage]
    notes: str
    answer: str


@tool
async def look(at: str) -> str:
    """Looks."""
    return at


def build(llm: Any) -> Any:
    """Says with its path's name whatever it says, but for what the model answers."""
    path = "A2" if isinstance(llm, LangChainLLMAdapter) else "A1"

    async def answer(state: State) -> State:
        found = await look.ainvoke({"at": f"TOOL-OF-{path}"})
        get_stream_writer()({"data": f"DATA-OF-{path}"})
        said = [{"role": "user", "content": f"{path}: {state['message']}"}]
        text = await joined(llm.stream(said))
        return {"answer": text, "notes": f"STATE-OF-{path} {found}"}

    graph = StateGraph(State)
    declared = {"speaks": True, "tools": True, "reasoning": True, "data": True}
    graph.add_node("answer", answer, metadata=declared)
    return graph.add_edge(START, "answer").compile().with_config(metadata=SAFE)


async def shadow_of(service: Whole, runs: int) -> Mapping[str, Any]:
    async with asyncio.timeout(5):
        while True:
            shown = (await service.client.get("/api/v1/rollout")).json()["shadow"]
            if shown["runs"] >= runs and not shown["unfinished"]:
                found: Mapping[str, Any] = shown
                return found
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(("real", "other"), [("A1", "A2"), ("A2", "A1")])
async def test_nothing_that_a_shadow_says_is_on_any_wire_or_kept(
    real: str,
    other: str,
    model: OfflineModel,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "sluice")
    gate = Gate()
    canaries = {what: text.replace("OF-A", f"OF-{other}") for what, text in CANARIES.items()}
    thought = {"reasoning_content": canaries["a shadow's reasoning"]}
    hidden: list[Piece] = [thought, canaries["a shadow's text"], " more"]
    model.script_when(asks(f"{real}: Why?"), Reply(pieces=[FIRST, LAST]))
    model.script_when(asks(f"{other}: Why?"), Reply(pieces=hidden, hold_after=2, gate=gate))
    settings: dict[str, Any] = {
        "store": f"sqlite:///{tmp_path}/sluice.db",
        "shadow": "100%",
        "enable_token_streaming": "true" if real == "A2" else "false",
    }
    async with whole_service(build, model, monkeypatch, **settings) as service:
        asked = {"message": "Why?", "session_id": "t"}
        begun = (await service.client.post("/api/v1/chat", json=asked)).json()
        reader = Reader(service, begun["job_id"], begun["chat_id"], canaries)
        await gate.reached()
        shown = await state_of(service, begun["job_id"], "completed")
        assert (shown["answer"], shown["path"]) == (FIRST + LAST, real)
        while_it_runs = await reader.read(SNAPSHOT, STREAM)
        gate.release()
        figures = await shadow_of(service, 1)
        assert (figures["same_text"]["count"], figures["same_stages"]["count"]) == (0, 1)
        over = await reader.read(SNAPSHOT, STREAM)
        assert over.keys() == while_it_runs.keys()
        await reader.read(ASK)
        jobs = len((await service.client.get("/api/v1/rollout/outcomes")).text.splitlines())
        assert jobs > 5
        exported = await service.client.get("/api/v1/rollout/outcomes")
        rollout = await service.client.get("/api/v1/rollout?limit=1000&looks=1000")
        metrics = await service.client.get("/metrics")
    kept = bytes_in(tmp_path)
    assert LAST.encode() in kept
    assert f"DATA-OF-{real}".encode() in kept
    for what, canary in canaries.items():
        for where in (exported.text, rollout.text, metrics.text, caplog.text):
            assert canary not in where, what
        assert canary.encode() not in kept, what
    assert canaries["a shadow's text"] not in str([received.body for received in model.requests])
    sent = [received.body["messages"][-1]["content"] for received in model.requests]
    assert sent.count(f"{other}: Why?") >= 1
