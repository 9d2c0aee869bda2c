"""What an outcome costs a job: CPU per answer that is kept, without one and with one.

    python -m benchmarks.outcomes [--jobs 2000] [--postgres postgresql://…]

Prints JSON, in microseconds. SQLite's threads are counted, PostgreSQL's server is not. Both ways
take turns, so that whatever else the machine does hits them alike. "delivered" is what a job's
readers were handed, written in batches of a hundred.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from sluice.application.chat_ports import ChatPort
from sluice.application.outcomes import OutcomesPort
from sluice.domain.chat import Chat, Job, new_id, now
from sluice.domain.outcome import Delivered, JobOutcome
from sluice.domain.rollout import Flag
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.outcomes.postgres import PostgresOutcomes
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase

ROUNDS, TOGETHER = 10, 20
ANSWER = "무색 페트병은 라벨을 떼고 버립니다. " * 20
FLAG = Flag(25, "control", "control", "rollout")


def a_job() -> Job:
    """One of a hundred users'."""
    user = f"user {secrets.randbelow(100)}"
    return Job(new_id(), f"chat of {user}", user, "A2", "why?", "request", flag=FLAG)


def outcome_of(job: Job) -> JobOutcome:
    at = now()
    return JobOutcome(
        job.id, "A2", "A2", 25, "control", "control", "rollout", None, at, at, at, at, at,
        "completed", None, None, 200, 0, 900, 200, 1, False, False,
    )  # fmt: skip


async def cost(jobs: list[Job], work: Callable[[Job], Awaitable[None]]) -> float:
    """CPU microseconds a job, some of them at once."""
    begun = time.process_time()
    for start in range(0, len(jobs), TOGETHER):
        await asyncio.gather(*map(work, jobs[start : start + TOGETHER]))
    return (time.process_time() - begun) / len(jobs) * 1e6


async def measured(chats: ChatPort, outcomes: OutcomesPort, jobs: int) -> dict[str, float]:
    async def without(job: Job) -> None:
        await chats.keep_answer(job, ANSWER, "completed", 1)

    async def with_one(job: Job) -> None:
        await chats.keep_answer(job, ANSWER, "completed", 1, outcome_of(job))

    plain, outcome, delivered = list[float](), list[float](), list[float]()
    for _ in range(ROUNDS):
        for work, took in ((without, plain), (with_one, outcome)):
            given = [a_job() for _ in range(jobs // ROUNDS)]
            for job in given:
                await chats.open(Chat(job.chat_id, job.user, None, now()))
                await chats.add_question(job)
            took.append(await cost(given, work))
        rows = [Delivered(new_id(), now(), 0.1, seen=True) for _ in range(100)]
        begun = time.process_time()
        await outcomes.keep_delivered(rows)
        delivered.append((time.process_time() - begun) / len(rows) * 1e6)
    answer = statistics.median(plain)
    return {
        "answer": round(answer, 1),
        "outcome": round(statistics.median(outcome) - answer, 1),
        "delivered": round(statistics.median(delivered), 1),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--postgres", help="measure this one too, in a schema of its own")
    given = parser.parse_args()
    said = {}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        database = SqliteDatabase(Path(folder) / "sluice.db")
        await database.open()
        stack.push_async_callback(database.aclose)
        stores = SqliteChats(database), SqliteOutcomes(database)
        said["sqlite"] = await measured(*stores, given.jobs)
        if given.postgres is not None:
            shared = PostgresDatabase(given.postgres, schema=f"bench_{secrets.token_hex(4)}")
            await shared.open()
            stack.push_async_callback(shared.aclose)
            said["postgres"] = await measured(
                PostgresChats(shared), PostgresOutcomes(shared), given.jobs
            )
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    uvloop.run(main())
