"""Jobs that wait for a human: what is kept of them, and how they go on."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from sluice.application.coalescing import coalesce
from sluice.application.pause_port import KeptPause, PausePort
from sluice.application.ports import EventLogPort
from sluice.application.relay import Relay
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, now
from sluice.domain.errors import Unavailable
from sluice.domain.events import Event, NeedsInput, Recorded
from sluice.domain.graph_state import Pause
from sluice.domain.ports import NotifierPort

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Seconds between two tries while a store cannot be read."""


class Pauses:
    """`timeout`: seconds that a job waits for a human.

    The order is what makes it safe: what was said is durable before the pause is kept, and that
    before anybody is asked.
    """

    def __init__(self, store: PausePort, log: EventLogPort, *, timeout: float) -> None:
        self._store, self._log = store, log
        self._timeout = timedelta(seconds=timeout)

    async def last(self, job: Job) -> KeptPause | None:
        """Waits for a store that is away."""
        while True:
            try:
                return await self._store.last(job.id)
            except Unavailable as error:
                await _wait(job, error)

    async def keep(self, job: Job, relay: Relay, pause: Pause, spent: float) -> KeptPause:
        """Raises PipelineError and AnswerTooLarge for what cannot be asked."""
        pause = replace(pause, fell_back=relay.fallen_back)
        kept = KeptPause(pause, relay.notifier.attempt, now() + self._timeout, spent)
        relay.check(_questions(kept))
        await relay.notifier.flush()
        relay.asked = True
        await self._store.keep(job, kept)
        return kept

    async def ask(self, notifier: NotifierPort, kept: KeptPause) -> None:
        """The last that the log is told until the job goes on."""
        await notifier.pause(*_questions(kept))

    async def recall(self, job: Job, relay: Relay, kept: KeptPause, *, again: bool) -> None:
        """Has the relay know what was told before the pause, or tell it `again`."""
        while True:
            try:
                log = await self._log.read(job.id)
                break
            except Unavailable as error:
                await _wait(job, error)
        relay.fallen_back = kept.pause.fell_back
        told = _told_before(log.events, kept)
        if again:
            relay.tell_again(told)
        else:
            relay.recall(told)

    async def close(self, job: Job) -> None:
        await self._store.close(job.id)


def _questions(kept: KeptPause) -> list[NeedsInput]:
    expires_at = kept.expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return [
        NeedsInput(one.input_id, one.prompt, one.kind, expires_at, one.schema)
        for one in kept.missing
    ]


def _told_before(log: Sequence[Recorded], kept: KeptPause) -> list[Event]:
    """What the attempt that has paused had told by then, but for its own beginning."""
    told = list[Recorded]()
    beginning = 1 if kept.attempt == 1 else 2  # `queued`, and a reset before it
    for recorded in log:
        event = recorded.event
        if isinstance(event, NeedsInput) and kept.pause.asks(event.input_id):
            break
        if recorded.id.attempt == kept.attempt and recorded.id.seq > beginning:
            told.append(recorded)
    return [one.event for one in coalesce(told) if not isinstance(one.event, NeedsInput)]


async def _wait(job: Job, error: Unavailable) -> None:
    logger.warning("job %s waits for its store: %s", job.id, format_traceback(error))
    await asyncio.sleep(_RETRY_SECONDS)
