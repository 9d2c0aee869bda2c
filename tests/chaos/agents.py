"""Chats of an agent that keeps a state, calls a tool and asks, while what serves it is disturbed.

Each chat takes turn after turn; some are stopped while they wait. No turn may be in the state
twice, none that was answered may be missing, none that was stopped may be there, each answer to a
question counts once, and no chat's state may be gone: each goes on when all is mended. Then all
chats are deleted, and nothing of them may be left.

    python -m tests.chaos.agents --seconds 60 --seed 1 [--cluster]
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from pathlib import Path

import psycopg
from psycopg import sql

from tests.chaos.cluster import Distributed
from tests.chaos.embedded import Embedded
from tests.chaos.lanes import Lane
from tests.chaos.record import Recording
from tests.chaos.turns import Agents, Chat
from tests.chaos.upstream import ChaosModel
from tests.live.cluster import clustered
from tests.live.service import serving
from tests.services import PostgresServer, RedisServer, durable_redis

SETTINGS = {
    "ENABLE_TOKEN_STREAMING": "60%",
    "SLUICE_PIPELINE": "tests.chaos.agent:build",
    "SLUICE_STATE": "graph",
    "SLUICE_SHUTDOWN_GRACE": "1",
    "SLUICE_LOG_LEVEL": "INFO",
    "OPENAI_API_KEY": "key",
    "OPENAI_MODEL": "m",
}
CHATS = 8
SETTLED_WITHIN = 300
_OURS = "chats", "pauses", "deleted_threads"
Stores = tuple[RedisServer, PostgresServer]
Kept = Callable[[], dict[str, float]]
"""How many rows the stores have of chats, of what was asked, and of graphs' states."""


async def talked(
    port: Callable[[], int], lanes: Sequence[Lane], folder: Path, seed: int, seconds: float
) -> Agents:
    """What became of it; the chats are still there."""
    agents, stop, chats = Agents(seed, port), asyncio.Event(), [Chat(n) for n in range(CHATS)]
    recording = Recording(folder / f"agents-{seed}.jsonl")
    try:
        async with asyncio.timeout(seconds + SETTLED_WITHIN):
            async with asyncio.TaskGroup() as group:
                for chat in chats:
                    group.create_task(agents.talk(chat, stop))
                for lane in lanes:
                    group.create_task(lane.run(seed, recording, stop))
                end = time.monotonic() + seconds
                while (left := end - time.monotonic()) > 0:
                    print(
                        f"{left:.0f} s to go; {dict(agents.counts)}, {recording.counts}",
                        file=sys.stderr,
                    )
                    await asyncio.sleep(min(left, 5))
                stop.set()
            async with asyncio.TaskGroup() as group:
                for chat in chats:
                    group.create_task(agents.last_turn(chat))
    finally:
        recording.close()
    return agents


async def left_over(agents: Agents, disturbs: Embedded | Distributed, kept: Kept) -> None:
    """Adds to the faults what the processes hold, and what the stores keep of deleted chats."""
    left = await disturbs.left(agents.job)
    await agents.forget()
    end = time.monotonic() + SETTLED_WITHIN
    while any(kept().values()) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    agents.faults += [f"left over: {n:g} {what}" for what, n in (left | kept()).items() if n]


def in_sqlite(folder: Path) -> Kept:
    files = {"sluice.db": _OURS, "sluice.db-state": ("checkpoints", "writes")}

    def kept() -> dict[str, float]:
        found = dict[str, float]()
        for file, tables in files.items():
            with closing(sqlite3.connect(folder / file)) as db:
                for table in tables:
                    (found[table],) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return found

    return kept


def in_postgres(url: str) -> Kept:
    tables = *_OURS, "checkpoints", "checkpoint_blobs", "checkpoint_writes"

    def kept() -> dict[str, float]:
        found = dict[str, float]()
        with psycopg.connect(url) as db:
            for table in tables:
                counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("sluice", table))
                for (found[table],) in db.execute(counted):
                    pass
        return found

    return kept


@asynccontextmanager
async def arena(
    folder: Path, model: ChaosModel, stores: Stores | None
) -> AsyncIterator[tuple[Embedded | Distributed, Kept]]:
    async with AsyncExitStack() as stack:
        if stores is None:
            own = {
                "SLUICE_STORE": f"sqlite:///{folder / 'sluice.db'}",
                "OPENAI_BASE_URL": model.base_url,
            }
            service = await stack.enter_async_context(serving(folder, **SETTINGS | own))
            yield Embedded(service, model), in_sqlite(folder)
            return
        cluster = await stack.enter_async_context(
            clustered(folder, model, stores[0], stores[1], workers=2, **SETTINGS)
        )
        await cluster.whole()
        yield Distributed(cluster, model), in_postgres(stores[1].url)


async def run(seed: int, seconds: float, stores: Stores | None) -> Agents:
    folder = Path(tempfile.mkdtemp(prefix="sluice-agents-"))
    model = ChaosModel(seed, lambda *_, **__: None)
    async with model, arena(folder, model, stores) as (disturbs, kept):
        agents = await talked(disturbs.port, disturbs.lanes, folder, seed, seconds)
        try:
            await left_over(agents, disturbs, kept)
        finally:
            await agents.aclose()
    return agents


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
    print("\n".join(agents.faults) or "every turn counted once, every answer, and nothing is left")
    return 1 if agents.faults or not agents.counts["completed"] else 0


if __name__ == "__main__":
    sys.exit(main())
