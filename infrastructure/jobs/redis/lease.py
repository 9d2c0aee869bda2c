"""What a worker knows of a job that it has claimed."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.redis.scheduler import Claimed, Held
from sluice.infrastructure.jobs.shared import stop


class Lease:
    """The job is the worker's until it is `lost`: by then another one may have it.

    `reason`: why the job is cancelled; without one, a stopped run is handed back. `renewed`: the
    loop's time at which Redis was asked for what it granted. `before`: attempts that had begun
    when this one looked. `run` is its task.
    """

    def __init__(
        self,
        claimed: Claimed,
        claim: str,
        asked: float,
        run: "Callable[[Lease], Coroutine[Any, Any, datetime | None]]",
    ) -> None:
        self.held = Held(claimed.job_id, claim)
        self.reason, self.returns = claimed.reason, claimed.returns
        self.only_ends = claimed.reason is not None
        """It holds no slot."""
        self.renewed = asked
        self.lost = asyncio.Event()
        self.before: int | None = None
        self.run = asyncio.create_task(run(self), name=f"run {claimed.job_id}")

    @property
    def job_id(self) -> str:
        return self.held.job_id

    def older_than(self, seconds: float) -> bool:
        return asyncio.get_running_loop().time() - self.renewed > seconds

    def cancel(self, reason: CancelReason) -> None:
        """Once: the run may be writing its end by then."""
        if self.reason is None:
            self.reason = reason
            self.stop()

    def stop(self) -> None:
        stop(self.run)
