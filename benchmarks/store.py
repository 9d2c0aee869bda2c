"""What the log costs: CPU per token while jobs run, and how fast an old log is told.

    python -m benchmarks.store [--jobs 50] [--seconds 5] [--redis redis://127.0.0.1/9]

Prints JSON. Writer and readers are in one process; its own CPU time is counted, the database's
thread included, Redis's not. "Paced" is a token every 20 ms per job, each job with a reader, as
models and pages do it: every token is its own wake-up. What sleeping costs is taken off.
"""

import argparse
import asyncio
import gc
import json
import sqlite3
import tempfile
import time
import tracemalloc
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from sluice.application.ports import EventLogPort
from sluice.domain.chat import Job, new_id
from sluice.domain.events import QUEUED, Done, Token
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.interfaces.protocols.native.encoder import NATIVE

PACE = 0.02
OLD = 100_000
ANSWER, ANSWERS = 225, 200
"""Tokens, and how many, of which it is measured what is kept."""


async def opened(kind: str, stack: AsyncExitStack) -> tuple[EventLogPort, SqliteDatabase | None]:
    """`kind`: memory, sqlite, or the address of a Redis."""
    if kind == "memory":
        return MemoryEventLog(), None
    if kind.startswith("redis://"):
        server = RedisClient.at(kind)
        stack.push_async_callback(server.aclose)
        kept = RedisEventLog(server, retention=60)
        stack.push_async_callback(kept.aclose)
        return kept, None
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    database = SqliteDatabase(Path(folder) / "sluice.db")
    await database.open()
    stack.push_async_callback(database.aclose)
    log = SqliteEventLog(database)
    await log.open()
    stack.push_async_callback(log.aclose)
    return log, database


async def told(log: EventLogPort, job_id: str) -> int:
    """How many bytes a reader is sent."""
    size = 0
    async for batch in await log.follow_encoded(job_id, after=None, encoder=NATIVE):
        size += len(batch.body)
    return size


async def run(log: EventLogPort, tokens: int, pace: float) -> str:
    job = Job(new_id(), new_id(), "ann", "A2", "why?", "request")
    await log.create(job, QUEUED)
    notifier = await log.begin(job.id)
    reader = asyncio.create_task(told(log, job.id)) if pace else None
    for number in range(tokens):
        notifier.publish(Token(f"토큰 {number}", "answer"))
        if pace:
            await asyncio.sleep(pace)
    await notifier.end(Done("A2", "answer"))
    if reader is not None:
        await reader
    return job.id


async def paced(kind: str, jobs: int, seconds: float) -> float:
    """CPU microseconds per token."""
    async with AsyncExitStack() as stack:
        tokens = int(seconds / PACE)
        log, _ = await opened(kind, stack)
        begun = time.process_time()
        await asyncio.gather(*(sleeps(tokens) for _ in range(jobs)))
        slept = time.process_time()
        await asyncio.gather(*(run(log, tokens, PACE) for _ in range(jobs)))
        took = time.process_time() - slept - (slept - begun)
        return took / (jobs * tokens) * 1e6


async def kept() -> float:
    """KiB that a log in memory keeps of a token, once its job is over."""
    log = MemoryEventLog(joined_after=0)
    await run(log, ANSWER, 0)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(ANSWERS):
        await run(log, ANSWER, 0)
        await asyncio.sleep(0.001)
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / (ANSWERS * ANSWER * 1024)


async def sleeps(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(PACE)


async def replay(kind: str) -> float:
    """Tokens of a log of OLD tokens told to its first reader, per second of CPU."""
    async with AsyncExitStack() as stack:
        log, database = await opened(kind, stack)
        job_id = await run(log, OLD, 0)
        if database is not None:
            await database.write(_spread)
            log = SqliteEventLog(database)
        cpu = time.process_time()
        await told(log, job_id)
        return OLD / (time.process_time() - cpu)


def _spread(db: sqlite3.Connection) -> None:
    """Makes rows of three tokens, as a paced job leaves them, of those of a job in a hurry."""
    bodies = db.execute("SELECT job, first, body FROM batches ORDER BY key").fetchall()
    db.execute("DELETE FROM batches")
    for job, first, body in bodies:
        seq = first
        for name, data in json.loads(body):
            parts = [data[n : n + 3] for n in range(0, len(data), 3)]
            for part in parts if isinstance(data, list) else [data]:
                packed = json.dumps([[name, part]]).encode()
                db.execute(
                    "INSERT INTO batches (job, attempt, first, body) VALUES (?, 1, ?, ?)",
                    (job, seq, packed),
                )
                seq += len(part) if isinstance(part, list) else 1


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--redis", help="measure this Redis too; its logs expire after a minute")
    parser.add_argument("--kept", action="store_true", help="only what a token keeps in memory")
    given = parser.parse_args()
    if given.kept:
        print(json.dumps({"kept_kib": await kept()}))
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 200, 100)
    kinds = {"memory": "memory", "sqlite": "sqlite"}
    if given.redis is not None:
        kinds["redis"] = given.redis
    said = {
        "cpu_us": {
            name: await paced(kind, given.jobs, given.seconds) for name, kind in kinds.items()
        },
        "replayed_s": {kind: await replay(kind) for kind in ("memory", "sqlite")},
    }
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    uvloop.run(main())
