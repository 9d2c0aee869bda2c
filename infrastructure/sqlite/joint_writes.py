"""What is kept of a job in its chat, written with its log: in one transaction where it begins and
in one where it ends, where the chats and the logs share a database.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sluice.domain.chat import JobId
from sluice.infrastructure.sqlite.connection import Work


class Creation(NamedTuple):
    works: Sequence[Work[None]] = ()
    committed: Callable[[], None] = lambda: None
    """Called in the event loop, once they are."""


class JointWrites:
    """The chats hand their work over, and the log takes it into its transaction."""

    def __init__(self) -> None:
        self._creations: dict[JobId, Creation] = {}
        self._waiting: dict[JobId, list[Work[None]]] = {}

    def with_creation(self, job_id: JobId, work: Work[None], committed: Callable[[], None]) -> None:
        """The job's log is created next."""
        self._creations[job_id] = Creation([work], committed)

    def take_creation(self, job_id: JobId) -> Creation:
        return self._creations.pop(job_id, Creation())

    def with_end(self, job_id: JobId, work: Work[None]) -> bool:
        """False if no end of the job is expected here: then the work is the caller's."""
        waiting = self._waiting.get(job_id)
        if waiting is None:
            return False
        waiting.append(work)
        return True

    def expect_end(self, job_id: JobId) -> None:
        self._waiting.setdefault(job_id, [])

    def take(self, job_id: JobId) -> Sequence[Work[None]]:
        return self._waiting.pop(job_id, ())


def run_each(db: sqlite3.Connection, works: Sequence[Work[None]]) -> None:
    for work in works:
        work(db)
