"""Jobs that wait for a human: what is kept of them, and how they go on."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, timedelta

from sluice.application.chat_ports import KeptPause, PausePort
from sluice.application.coalescing import coalesce
from sluice.application.follow import owned
from sluice.application.pause_json import same
from sluice.application.ports import CheckValue, EventLogPort, JobQueuePort
from sluice.application.relay import Relay
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, JobId, UserId, now
from sluice.domain.errors import Conflict, Expired, Refused, Unavailable
from sluice.domain.events import Event, Json, NeedsInput, Recorded
from sluice.domain.graph_state import InputRequest, Pause
from sluice.domain.ports import NotifierPort

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
"""Seconds between two tries while a store cannot be read."""
_WAKES_WITHIN_SECONDS = 5
"""Seconds until a job is looked at whose answer's giver has died."""


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
        kept = KeptPause(pause, relay.notifier.attempt, now() + self._timeout, spent)
        relay.check(_questions(kept))
        await relay.notifier.flush()
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
        told = _told_before(log.events, kept)
        if again:
            relay.tell_again(told)
        else:
            relay.recall(told)

    async def close(self, job: Job) -> None:
        await self._store.close(job.id)


class AnswerInput:
    """A human's answer to what a job has asked. When all have come, the job goes on.

    It is looked at a few seconds later, too: who gives the last answer may die before it is woken.
    """

    def __init__(
        self, pauses: PausePort, log: EventLogPort, queue: JobQueuePort, check: CheckValue
    ) -> None:
        self._pauses, self._log, self._queue = pauses, log, queue
        self._check = check

    async def __call__(self, user: UserId, job_id: JobId, input_id: str, value: Json) -> None:
        """Idempotent. Raises NotFound, Conflict, Expired, Refused and Unavailable."""
        await owned(self._log, user, job_id)
        kept = await self._pauses.asking(job_id, input_id)
        if kept is None:
            raise Conflict("the job has not asked that")
        if input_id not in kept.answers:
            self._require_open(kept)
            _require_fitting(_request(kept, input_id), value, self._check)
        elif not same(kept.answers[input_id], value):
            raise Conflict("the question has been answered otherwise")
        await self._queue.wake(job_id, within=_WAKES_WITHIN_SECONDS)
        kept = await self._pauses.answer(job_id, input_id, value)
        if not kept.missing:
            await self._queue.wake(job_id)

    def _require_open(self, kept: KeptPause) -> None:
        if kept.expired:
            raise Expired
        if kept.closed:
            raise Conflict("the job does not wait any more")


def _request(kept: KeptPause, input_id: str) -> InputRequest:
    return next(one for one in kept.pause.requests if one.input_id == input_id)


def _require_fitting(request: InputRequest, value: Json, check: CheckValue) -> None:
    """Raises Refused. Without a schema an approval takes anything, and a text is a string."""
    if request.schema is not None:
        check(request.schema, value)
    elif request.kind == "text" and not isinstance(value, str):
        raise Refused("", "must be a string")


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
