"""Records outcomes for `docs.reports.guard`: `python -m docs.reports.guard_record`.

The service runs as `sluice serve`, its users ask over HTTP and read their streams. Both arms do
the same. A few users ask far more than the others, as in every service. What is kept of each job
is one line: its user's number and which bad events it had, no more.
"""

import asyncio
import csv
import io
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import httpx2
from langgraph.graph import START, StateGraph

from sluice.domain.ports import LLMClientPort
from tests.live.service import Service, serving

RECORDED = Path(__file__).parent / "guard_data" / "outcomes.csv"
USERS = ((400, 2), (60, 8), (10, 30), (1, 200))
"""So many users, with so many jobs each."""
_AT_ONCE = 24


class State(TypedDict, total=False):
    message: str
    answer: str


def graph(_llm: LLMClientPort) -> StateGraph[State]:
    """Fails now and then, is slow now and then, and no worse on one path than on the other."""

    async def answer(state: State) -> State:
        await asyncio.sleep(random.expovariate(1 / 0.02))
        if random.random() < 0.04:
            raise RuntimeError("now and then")
        return {"answer": state["message"]}

    builder = StateGraph(State)
    builder.add_node("answer", answer, metadata={"speaks": True, "stage": False})
    builder.add_edge(START, "answer")
    return builder


async def ask(service: Service, user: str, slots: asyncio.Semaphore) -> None:
    """One of fifty readers leaves before seeing anything."""
    async with slots:
        headers = {"X-User-ID": user}
        asked = await service.client.post(
            f"{service.url}/api/v1/chat", json={"message": "?"}, headers=headers
        )
        if asked.status_code != 202:
            return
        async with service.stream(asked.json()["job_id"], headers=headers) as stream:
            if random.random() >= 0.02:
                await stream.all(60)


async def asks(service: Service, user: str, jobs: int, slots: asyncio.Semaphore) -> None:
    for _ in range(jobs):
        await asyncio.sleep(0.3 * random.random())
        await ask(service, user, slots)


async def record() -> Sequence[dict[str, Any]]:
    settings = {
        "SLUICE_PIPELINE": "docs.reports.guard_record:graph",
        "SLUICE_AUTH": "trusted-header",
        "SLUICE_ADMINS": "operator",
        "SLUICE_LOG_LEVEL": "ERROR",
        "ENABLE_TOKEN_STREAMING": "50%",
    }
    slots = asyncio.Semaphore(_AT_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        store = {"SLUICE_STORE": f"sqlite:///{folder}/a.db"}
        async with serving(Path(folder), **settings, **store) as service:
            service.client.timeout = httpx2.Timeout(60)
            names = [(f"{n} {jobs}", jobs) for users, jobs in USERS for n in range(users)]
            await asyncio.gather(*(asks(service, user, jobs, slots) for user, jobs in names))
            await asyncio.sleep(2)
            url = f"{service.url}/api/v1/rollout/outcomes?format=csv"
            answer = await service.client.get(url, headers={"X-User-ID": "operator"})
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def kept(rows: Sequence[dict[str, Any]]) -> str:
    """Late and slow is what is later than 95 % of all."""
    answers = [_seconds(row, "answered_at") for row in rows]
    firsts = [_seconds(row, "first_character_at") for row in rows]
    late, slow = _ninety_fifth(answers), _ninety_fifth(firsts)
    numbers: dict[str, int] = {}
    lines = ["user,failed,late,left,spoiled,slow"]
    for row, answer, first in zip(rows, answers, firsts, strict=True):
        user = numbers.setdefault(row["user"], len(numbers))
        bad = [
            row["status"] == "failed",
            answer is not None and answer > late,
            row["left_early"] == "True",
            row["spoiled"] == "True",
            first is not None and first > slow,
        ]
        lines.append(",".join(map(str, [user, *map(int, bad)])))
    return "\n".join(lines) + "\n"


def _seconds(row: dict[str, Any], name: str) -> float | None:
    from datetime import datetime

    if not row[name]:
        return None
    begun, at = (datetime.fromisoformat(row[key]) for key in ("admitted_at", name))
    return (at - begun).total_seconds()


def _ninety_fifth(seconds: Sequence[float | None]) -> float:
    known = sorted(one for one in seconds if one is not None)
    return known[len(known) * 95 // 100]


if __name__ == "__main__":
    RECORDED.write_text(kept(asyncio.run(record())))
    sys.stdout.write(f"{RECORDED.relative_to(Path.cwd())}: written\n")
