"""What the embedded and the distributed queue have in common."""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from sluice.application.ports import Stop
from sluice.domain.chat import Job

WhenBusy = Literal["enqueue", "reject", "interrupt"]


class Run(Protocol):
    """ProcessChat, on the job's own path."""

    async def __call__(self, job: Job, stop: Stop, after: int | None = None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """`user_*` of None: users have no bounds of their own."""

    running: int = 64
    queued: int = 1000
    user_running: int | None = 3
    user_queued: int | None = 10


def stop(task: asyncio.Task[None]) -> None:
    """Behind its first step: a task cancelled before it would do nothing, not even its end."""
    asyncio.get_running_loop().call_soon(task.cancel)
