"""A question with the chat before it, as the model shall see it."""

import asyncio
import logging
from collections.abc import Sequence

from sluice.application.chat_ports import ChatPort
from sluice.application.graph_states import GraphStates
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, Message, Question, Turn
from sluice.domain.errors import Unavailable

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Seconds between two tries while the chat cannot be read."""


class ReadQuestion:
    """`states`: where chats go on from their graph's own state, if any do."""

    def __init__(self, chats: ChatPort, states: GraphStates | None) -> None:
        self._chats, self._states = chats, states

    async def __call__(self, job: Job) -> Question:
        """Waits for a store that is away, as long as the job may last."""
        while True:
            try:
                if self._states is not None and (head := await self._states.begin(job)):
                    return Question(job, head=head)
                return Question(job, await self._history(job))
            except Unavailable as error:
                logger.warning("job %s waits for its chat: %s", job.id, format_traceback(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _history(self, job: Job) -> list[Turn]:
        if job.history is not None:
            return list(job.history)
        return history(await self._chats.messages(job.user, job.chat_id), job)


def history(messages: Sequence[Message], job: Job) -> list[Turn]:
    """The turns before the job's question; of several answers to one question, the last.

    Nothing that was said is no turn: strict upstreams refuse a chat with an empty answer in it.
    """
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user" and message.job_id in (job.id, job.retry_of):
            break
        if not message.content.strip():
            continue
        if message.role == "assistant" and turns and turns[-1].role == "assistant":
            turns.pop()
        turns.append(Turn(message.role, message.content))
    return turns
