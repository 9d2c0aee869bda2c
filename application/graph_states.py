"""The state that a graph keeps between two jobs of a chat: where they begin, what is kept."""

import asyncio
import logging
from datetime import timedelta

from sluice.application.chat_ports import HeadPort
from sluice.application.ports import CheckpointPort
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, Question, now
from sluice.domain.errors import Unavailable
from sluice.domain.graph_state import Head

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5
"""For what a job leaves to be tidied up: its end has been told, but it holds its chat's place."""
_MARGIN = timedelta(hours=1)
"""A retry that was taken while the job's log could still be read may have to wait."""


class GraphStates:
    """`keeps`: chats go on from their graph's own state, and not from their text.

    `leaves`: runs leave checkpoints; where these build on each other, they are not `prunable`.
    `retention`: seconds after its end in which a job may be retried.
    """

    def __init__(
        self,
        heads: HeadPort,
        checkpoints: CheckpointPort,
        *,
        keeps: bool,
        leaves: bool,
        prunable: bool = True,
        retention: float = 3600,
    ) -> None:
        self._heads, self._checkpoints = heads, checkpoints
        self._keeps, self._leaves, self._prunable = keeps, leaves, prunable
        self._retention = timedelta(seconds=retention) + _MARGIN

    async def begin(self, job: Job) -> Head | None:
        """Where the job's run begins; None if its graph is given the chat's text.

        Raises NotFound and Unavailable.
        """
        if not self._keeps or job.history is not None:
            return None
        return await self._heads.begin(job)

    def has_left(self, job: Job, asked: Question | None) -> bool:
        """Whether there is anything to tidy up after the job, which most graphs leave nothing."""
        return self._has_own_thread(job) or (asked is not None and asked.head is not None)

    async def tidy(self, job: Job, asked: Question | None) -> None:
        """After the job's end: forgets what no run can begin at.

        `asked` is what was run; None if nothing was: then another job may be on the chat's thread.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if self._has_own_thread(job):
                    await self._checkpoints.forget(job.id)
                elif asked is not None and asked.head is not None:
                    await self._prune(job, asked.head.thread_id)
        except (Unavailable, TimeoutError) as error:
            logger.warning("checkpoints of job %s stay: %s", job.id, format_traceback(error))
            if self._has_own_thread(job):  # the next job tidies up the chat's
                await self._leave(job)

    def _has_own_thread(self, job: Job) -> bool:
        return self._leaves and (not self._keeps or job.history is not None)

    async def _leave(self, job: Job) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._heads.leave(job.id)
        except (Unavailable, TimeoutError) as error:
            logger.warning("nor is that known later: %s", format_traceback(error))

    async def _prune(self, job: Job, thread_id: str) -> None:
        keep = await self._heads.in_use(job, now() - self._retention)
        if not keep:  # its chat was deleted meanwhile
            await self._checkpoints.forget(thread_id)
        elif self._prunable:
            await self._checkpoints.prune(thread_id, keep, job.id)


class ForgetThreads:
    """Forgets what the graphs of deleted chats knew, and what stayed of a job that is over.

    After a deletion, at a start, and from time to time.
    """

    def __init__(self, heads: HeadPort, checkpoints: CheckpointPort) -> None:
        self._heads, self._checkpoints = heads, checkpoints

    async def __call__(self) -> None:
        """What cannot be forgotten now is so the next time."""
        try:
            for thread_id in await self._heads.deleted():
                await self._checkpoints.forget(thread_id)
                await self._heads.forgotten(thread_id)
        except Unavailable as error:
            logger.warning("checkpoints of deleted chats stay: %s", format_traceback(error))
