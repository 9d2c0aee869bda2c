"""What a job's pipeline is asked: with the chat as text, or from where its graph stands."""

import asyncio
import logging

from sluice.application.chat_ports import ChatPort
from sluice.application.graph_states import GraphStates
from sluice.application.history import history
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, Question, Turn
from sluice.domain.errors import Unavailable
from sluice.domain.graph_state import Resumption

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Seconds between two tries while the chat cannot be read."""


class Questions:
    """Waits for a store that is away, as long as the job may last."""

    def __init__(self, chats: ChatPort, states: GraphStates | None) -> None:
        self._chats, self._states = chats, states

    async def __call__(self, job: Job, resumption: Resumption | None) -> Question:
        while True:
            try:
                if self._states is not None and (head := await self._states.begin(job)):
                    return Question(job, head=head, resumption=resumption)
                return Question(job, await self._history(job), resumption=resumption)
            except Unavailable as error:
                logger.warning("job %s waits for its chat: %s", job.id, format_traceback(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _history(self, job: Job) -> list[Turn]:
        if job.history is not None:
            return list(job.history)
        return history(await self._chats.messages(job.user, job.chat_id), job)
