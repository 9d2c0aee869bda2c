"""What the embedded and the distributed queue have in common, beside their policy."""

import asyncio
from typing import Protocol

from sluice.application.ports import Stop
from sluice.domain.chat import Job


class Run(Protocol):
    """ProcessChat, on the job's own path."""

    async def __call__(
        self, job: Job, stop: Stop, after: int | None = None, returns: int = 0, /
    ) -> None: ...


def stop(task: asyncio.Task[None]) -> None:
    """Behind its first step: a task cancelled before it would do nothing, not even its end."""
    asyncio.get_running_loop().call_soon(task.cancel)
