"""Chats of an agent that keeps a state and asks, while what serves it is disturbed.

Each chat takes turn after turn; some are stopped while they wait. No turn may be in the state
twice, none that was answered may be missing, none that was stopped may be there, each answer to a
question counts once, and no chat's state may be gone.

    python -m tests.chaos.agents --seconds 60 --seed 1 [--cluster]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2

from sluice.offline_model import OfflineModel
from tests.chaos.cluster import Distributed
from tests.chaos.embedded import Embedded
from tests.chaos.lanes import Lane
from tests.chaos.record import Recording
from tests.chaos.upstream import ChaosModel
from tests.live.cluster import clustered
from tests.live.service import serving
from tests.services import PostgresServer, durable_redis

SETTINGS = {
    "ENABLE_TOKEN_STREAMING": "60%",
    "SLUICE_PIPELINE": "tests.chaos.agent:build",
    "SLUICE_STATE": "graph",
    "SLUICE_SHUTDOWN_GRACE": "1",
    "OPENAI_API_KEY": "key",
    "OPENAI_MODEL": "m",
}
STOPPED = 0.2
ENDS_WITHIN, SETTLED_WITHIN = 60, 120
LOST = ("worker_lost",)
"""How a job may fail whose processes were killed twice."""


@dataclass
class Chat:
    """`turns`: what was answered, in order."""

    number: int
    turns: list[str] = field(default_factory=list)


class Agents:
    def __init__(self, seed: int, port: Callable[[], int]) -> None:
        self._seed, self._port = seed, port
        self._http = httpx2.AsyncClient(trust_env=False, verify=False, timeout=10)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    async def aclose(self) -> None:
        await self._http.aclose()

    async def talk(self, chat: Chat, stop: asyncio.Event) -> None:
        rng = Random(f"{self._seed} {chat.number}")
        while not stop.is_set():
            await self._turn(chat, rng)

    async def _turn(self, chat: Chat, rng: Random) -> None:
        said = f"{chat.number}.{self.counts['turns']}"
        self.counts["turns"] += 1
        key = f"agents-{self._seed}-{said}"
        job = (await self._insist(
            "POST", "chat", {202}, {"Idempotency-Key": key},
            {"message": said, "session_id": f"{self._seed}-{chat.number}"},
        ))["job_id"]  # fmt: skip
        given = [rng.randrange(1000), rng.randrange(1000)]
        stops = rng.choice([0, 1]) if rng.random() < STOPPED else None
        for n, value in enumerate(given):
            await asyncio.sleep(rng.uniform(0, 0.5))
            if await self._asked(job, n) is None:
                break
            if stops == n:
                await self._insist("DELETE", f"jobs/{job}", {202})
                break
            await self._give(job, n, value)
        self._judge(chat, said, given, await self._over(job), stopped=stops is not None)

    async def _give(self, job: str, n: int, value: int) -> None:
        """Twice: the same answer again changes nothing; another one is refused."""
        asked = await self._asked(job, n)
        if asked is None:
            return
        body = {"input_id": asked, "value": value}
        for _ in range(2):
            await self._insist("POST", f"chat/{job}/input", {202, 409}, {}, body)
        await self._insist("POST", f"chat/{job}/input", {409}, {}, body | {"value": -1})

    async def _asked(self, job: str, n: int) -> str | None:
        """The id of the n-th question, once it waits for an answer; None when the job is over."""
        while True:
            view = await self._insist("GET", f"jobs/{job}", {200})
            if view["ended_at"] is not None:
                return None
            if view["status"] == "waiting":
                ids = await self._questions(job)
                if len(ids) > n:
                    return ids[n]
            await asyncio.sleep(0.05)

    async def _questions(self, job: str) -> list[str]:
        """Each once, in order, as far as the log goes now."""
        found: dict[str, None] = {}
        url = f"http://127.0.0.1:{self._port()}/api/v1/chat/{job}/events"
        with suppress(httpx2.TransportError, TimeoutError):
            async with asyncio.timeout(0.4), self._http.stream("GET", url) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith('data: {"input_id"'):
                        found[json.loads(line[6:])["input_id"]] = None
        return list(found)

    async def _over(self, job: str) -> dict[str, Any]:
        """Raises AssertionError if it was answered or stopped, and does not end."""
        latest = time.monotonic() + ENDS_WITHIN
        while True:
            view: dict[str, Any] = await self._insist("GET", f"jobs/{job}", {200})
            if view["ended_at"] is not None:
                return view
            assert time.monotonic() < latest, f"job {job} is {view['status']} for good"
            await asyncio.sleep(0.1)

    def _judge(
        self, chat: Chat, said: str, given: list[int], view: dict[str, Any], *, stopped: bool
    ) -> None:
        self.counts[view["status"]] += 1
        if view["status"] == "completed":
            chat.turns.append(said)
            expected = f"I ask: {json.dumps([chat.turns, *given])}"
            if view["answer"] != expected:
                self.faults.append(f"{said}: {view['answer']!r} instead of {expected!r}")
        elif view["status"] == "failed" and view["error"]["code"] not in LOST:
            self.faults.append(f"{said} failed: {view['error']['code']}")
        elif view["status"] == "cancelled" and not stopped:
            self.faults.append(f"{said} was cancelled, and nobody asked for that")

    async def _insist(
        self,
        method: str,
        what: str,
        wanted: set[int],
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """At any gateway, until one of them does it."""
        while True:
            with suppress(httpx2.TransportError):
                url = f"http://127.0.0.1:{self._port()}/api/v1/{what}"
                answer = await self._http.request(method, url, headers=headers, json=body)
                if answer.status_code in wanted:
                    return answer.json()
                if answer.status_code < 500:
                    told = f"{method} {what}: {answer.status_code} {answer.text}"
                    raise AssertionError(told)
            await asyncio.sleep(0.1)


async def disturbed(
    port: Callable[[], int], lanes: Sequence[Lane], folder: Path, seed: int, seconds: float
) -> Agents:
    agents, stop = Agents(seed, port), asyncio.Event()
    recording = Recording(folder / f"agents-{seed}.jsonl")
    try:
        async with asyncio.timeout(seconds + SETTLED_WITHIN), asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(agents.talk(Chat(number), stop))
            for lane in lanes:
                group.create_task(lane.run(seed, recording, stop))
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                print(f"{left:.0f} s to go; {dict(agents.counts)}", file=sys.stderr)
                await asyncio.sleep(min(left, 5))
            stop.set()
    finally:
        recording.close()
        await agents.aclose()
    return agents


@asynccontextmanager
async def arena(
    folder: Path, model: Any, stores: tuple[Any, PostgresServer] | None
) -> AsyncIterator[Embedded | Distributed]:
    async with AsyncExitStack() as stack:
        if stores is None:
            own = {
                "SLUICE_STORE": f"sqlite:///{folder / 'sluice.db'}",
                "OPENAI_BASE_URL": model.base_url,
            }
            service = await stack.enter_async_context(serving(folder, **SETTINGS | own))
            yield Embedded(service, model)
            return
        cluster = await stack.enter_async_context(
            clustered(folder, model, stores[0], stores[1], workers=2, **SETTINGS)
        )
        await cluster.whole()
        yield Distributed(cluster, model)


async def run(seed: int, seconds: float, stores: tuple[Any, PostgresServer] | None) -> Agents:
    folder = Path(tempfile.mkdtemp(prefix="sluice-agents-"))
    model: OfflineModel = ChaosModel(seed, lambda *_, **__: None)
    async with model, arena(folder, model, stores) as disturbs:
        return await disturbed(disturbs.port, disturbs.lanes, folder, seed, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.agents", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="two gateways, two workers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with ExitStack() as stack:
        stores = None
        if given.cluster:
            redis = stack.enter_context(closing(durable_redis()))
            stores = redis, stack.enter_context(closing(PostgresServer()))
        agents = asyncio.run(run(given.seed, given.seconds, stores))
    print(f"seed {given.seed}, {given.seconds:g} s: {dict(agents.counts)}")
    print("\n".join(agents.faults) or "every turn counted once, and every answer")
    return 1 if agents.faults or not agents.counts["completed"] else 0


if __name__ == "__main__":
    sys.exit(main())
