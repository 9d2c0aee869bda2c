"""What is left of a job when its log is gone: its answer in the chat, and its outcome."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, ClassVar

from sluice.application.chat_ports import ChatPort
from sluice.application.outcomes import outcome_of
from sluice.application.ports import EventLogPort
from sluice.application.relay import Relay
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, JobStatus
from sluice.domain.errors import Unavailable
from sluice.domain.events import Cancelled, Done, Failed, Terminal
from sluice.domain.graph_state import Head

logger = logging.getLogger(__name__)

GIVEN_UP = Cancelled("shutdown")
"""How a job ends that was given up before it ran."""
_OUTCOME_TIMEOUT_SECONDS = 1
"""Seconds for an end that has nothing to keep in a chat to be kept before it is told."""


class KeepEnd:
    _late: ClassVar[set[asyncio.Task[None]]] = set()
    """The event loop alone would not hold them."""

    def __init__(self, chats: ChatPort, log: EventLogPort) -> None:
        self._chats, self._log = chats, log

    async def __call__(
        self, job: Job, relay: Relay, end: Terminal, begun_at: datetime, head: Head | None = None
    ) -> None:
        """The answer, the outcome and the graph's head, in one transaction, before the end is told.

        An end that has nothing to keep, nor to take back, does not wait for a store for long: its
        outcome is written when the store is there again. Raises Unavailable.
        """
        attempt = relay.notifier.attempt
        answer = end.answer if isinstance(end, Done) else relay.text
        if job.history is not None:
            answer = ""  # it is in no chat
        if end == GIVEN_UP and not answer and attempt == 1:
            return  # nobody was told of the job: its key may ask for another one
        status = status_of(end)
        outcome = await outcome_of(job, relay, end, status=status, begun_at=begun_at, log=self._log)
        keeping = self._chats.keep_answer(job, answer, status, attempt, outcome, head)
        if job.history is None and (answer or attempt > 1 or head is not None):
            await keeping
        else:
            await self._for_a_moment(keeping)

    async def _for_a_moment(self, keeping: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(keeping)
        self._late.add(task)
        task.add_done_callback(self._kept)
        await asyncio.wait([task], timeout=_OUTCOME_TIMEOUT_SECONDS)

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if task.cancelled():
            return
        match task.exception():
            case None:
                return
            case Unavailable():
                logger.warning("an outcome could not be written")
            case error:
                logger.error("an outcome could not be written: %s", format_traceback(error))


def status_of(end: Terminal) -> JobStatus:
    match end:
        case Done():
            return "completed"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"
