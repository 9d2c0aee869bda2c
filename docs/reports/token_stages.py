"""What readers know of a run's stages while the model of its last node is still silent."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from docs.reports.lab import Lab, State, a_lab, chain, in_sluice, joined, show, table
from sluice.domain.events import StageCompleted, StageStarted
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath

Reader = Callable[[Any], AsyncGenerator[str, None]]


async def experiment() -> str:
    async with a_lab() as lab:
        rows = [[name, await _told_in_silence(lab, read)] for name, read in READERS.items()]
        return table(["read by", "told before the model's first token"], *rows)


async def _told_in_silence(lab: Lab, read: Reader) -> str:
    async def plan(_: State) -> State:
        return {}

    async def answer(_: State) -> State:
        return {"answer": await joined(lab.wrapped())}

    gate = lab.hold(after=0)
    told: list[str] = []

    async def follow() -> None:
        async for stage in read(chain(("plan", plan), ("answer", answer))):
            told.append(stage)  # noqa: PERF401 - it is looked at while it grows

    following = asyncio.create_task(follow())
    await gate.reached()
    for _ in range(50):  # turns of the loop: whatever is on its way to the reader arrives
        await asyncio.sleep(0)
    silent = ", ".join(told)
    gate.release()
    await following
    return silent


async def _updates(graph: Any) -> AsyncGenerator[str, None]:
    parts = graph.compile().astream({"message": "Why?"}, stream_mode=["updates"], version="v2")
    async for part in parts:
        for node in part["data"]:
            yield f"-{node}"


async def _tasks(graph: Any) -> AsyncGenerator[str, None]:
    parts = graph.compile().astream({"message": "Why?"}, stream_mode=["tasks"], version="v2")
    async for part in parts:
        task = part["data"]
        yield f"+{task['name']}" if "triggers" in task else f"-{task['name']}"


async def _events(graph: Any) -> AsyncGenerator[str, None]:
    events = graph.compile().astream_events({"message": "Why?"}, version="v2")
    async for event in events:
        if event["name"] == event["metadata"].get("langgraph_node"):
            match event["event"]:
                case "on_chain_start":
                    yield f"+{event['name']}"
                case "on_chain_end":
                    yield f"-{event['name']}"


def _sluice(path: type[StagePath] | type[TokenPath]) -> Reader:
    async def read(graph: Any) -> AsyncGenerator[str, None]:
        async for event in in_sluice(path(WatchedGraph(graph))):
            match event:
                case StageStarted(stage):
                    yield f"+{stage}"
                case StageCompleted(stage):
                    yield f"-{stage}"

    return read


READERS: dict[str, Reader] = {
    "updates": _updates,
    "tasks": _tasks,
    "astream_events, on_chain_*": _events,
    "Sluice, A1": _sluice(StagePath),
    "Sluice, A2": _sluice(TokenPath),
}

if __name__ == "__main__":
    show(experiment)
