"""Who reads which job, where gateways have the readers and workers the jobs.

A gateway cannot know who reads elsewhere, and may be killed: it only tells, again and again,
what is read here. What nobody tells of is found and cancelled with the workers' heartbeats.
"""

import asyncio
from collections import Counter
from typing import NoReturn

from sluice.application.background import survives
from sluice.domain.chat import JobId
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler

_INTERVAL_S = 0.5
"""scheduler.lua allows for it, and for a failure in between."""


class RedisReaders:
    """The ReadersPort of a gateway; it does nothing unless `report` runs."""

    def __init__(self, scheduler: RedisScheduler) -> None:
        self._scheduler = scheduler
        self._readers: Counter[JobId] = Counter()
        self._left: set[JobId] = set()

    def submitted(self, job_id: JobId) -> None:
        """It counts from its start, and whoever runs it knows that."""

    def joined(self, job_id: JobId) -> None:
        self._readers[job_id] += 1

    def left(self, job_id: JobId) -> None:
        self._readers[job_id] -= 1
        if not self._readers[job_id]:
            del self._readers[job_id]
            self._left.add(job_id)

    async def report(self) -> NoReturn:
        """Until it is cancelled."""
        while True:
            if read := [*self._readers, *(self._left - self._readers.keys())]:
                self._left.clear()
                # Out of reach, Redis counts nothing; then those who are still there are told.
                await survives(self._scheduler.are_read(read), "telling who is read")
            await asyncio.sleep(_INTERVAL_S)
