"""A side call of a chat front end leaves every figure, every outcome and the guard as they were."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from langgraph.graph import START, StateGraph

from sluice.domain.chat import now
from sluice.offline_model.replies import Reply
from sluice.offline_model.server import OfflineModel
from tests.http.whole import Whole, whole_service
from tests.paths.graphs import State, streaming

OPEN_WEBUI = "### Task:\nGenerate a concise, 3-5 word title with an emoji."
LIBRECHAT = "Provide a concise, 5-word-or-less title for the conversation"
ELSE = ("sluice_tasks", "sluice_loop_blocked", "sluice_stream_lag", "sluice_guard")
"""Of the process; since one last looked; and of the guard, which reads what is no longer new."""


def build(llm: Any) -> Any:
    graph = StateGraph(State).add_node("answer", streaming(llm), metadata={"speaks": True})
    return graph.add_edge(START, "answer")


@pytest.fixture
async def service(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch, no_settings: None
) -> AsyncIterator[Whole]:
    given: dict[str, Any] = {"enable_token_streaming": "5%"}
    async with whole_service(build, model, monkeypatch, store="memory://", **given) as service:
        yield service


async def ask(service: Whole, text: str, *, stream: bool = False) -> str:
    messages = [{"role": "user", "content": text}]
    body = {"model": "sluice", "messages": messages, "stream": stream}
    answer = await service.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.text


async def figures(service: Whole) -> dict[str, float]:
    found = {}
    for line in (await service.client.get("/metrics")).text.splitlines():
        if line.startswith("sluice_") and not line.startswith(ELSE):
            name, value = line.rsplit(" ", 1)
            if not name.split("{")[0].endswith("_created"):
                found[name] = float(value)
    return found


def moved(before: dict[str, float], after: dict[str, float]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


async def outcomes(service: Whole, rollout: str) -> list[Any]:
    """All that there are, and what the guard of the rollout reads of them."""
    store = service.container.outcomes()
    begin = (now() - timedelta(days=1), 0)
    written = await store.written(rollout, begin, now() + timedelta(days=1), 99)
    return [*await store.page(after=0, limit=99), *written]


async def delivered(service: Whole, rollout: str) -> None:
    """Until it is known what each job's reader was handed."""
    async with asyncio.timeout(5):
        while any(one.delivered is None for one in await outcomes(service, rollout)):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


async def test_a_title_changes_no_figure_no_outcome_and_no_evidence(
    service: Whole, model: OfflineModel
) -> None:
    plan = {"plan": {"steps": [{"share": 50}]}}
    started = await service.client.put("/api/v1/rollout", json=plan, headers={"If-Match": '"0"'})
    assert started.status_code == 200, started.text
    rollout = started.json()["rollout"]
    await ask(service, "Why?")
    await delivered(service, rollout)
    before = await figures(service), await outcomes(service, rollout)
    assert sum(value for name, value in before[0].items() if "jobs_ended_total" in name) == 1
    assert [one.outcome.rollout for one in before[1]] == [rollout] * 2
    model.script(*[Reply(pieces=["A title"])] * 3)
    assert "A title" in await ask(service, OPEN_WEBUI)
    assert "A title" in await ask(service, LIBRECHAT)
    assert "A title" in await ask(service, LIBRECHAT, stream=True)
    assert moved(before[0], await figures(service)) == set()
    assert await outcomes(service, rollout) == before[1]
    await ask(service, "And?")  # a question of the same user's does change all of them
    assert len(await outcomes(service, rollout)) == 4
    assert "sluice_jobs_ended_total" in str(moved(before[0], await figures(service)))
