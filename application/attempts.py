"""A job's attempts: each is fenced off from the one before it, and says so to readers."""

from datetime import datetime
from typing import NamedTuple

from sluice.application.pause_port import KeptPause
from sluice.application.pauses import Pauses
from sluice.application.ports import EventLogPort, Stop
from sluice.application.relay import Relay
from sluice.domain.chat import Job
from sluice.domain.errors import ChatError
from sluice.domain.events import QUEUED, Reset
from sluice.domain.ports import NotifierPort


class Begun(NamedTuple):
    """An attempt, and the pause that the job goes on from, if it has paused.

    `failed`: what had been told before the pause cannot be told any more, as the bound was lowered.
    """

    relay: Relay
    kept: KeptPause | None
    failed: ChatError | None = None

    @property
    def spent(self) -> float:
        """Seconds that the job had run before."""
        return 0 if self.kept is None else self.kept.spent


class Attempts:
    """`max_answer` is in bytes of UTF-8."""

    def __init__(self, log: EventLogPort, pauses: Pauses, max_answer: int) -> None:
        self._log, self._pauses, self._max_answer = log, pauses, max_answer

    async def begin(self, job: Job, after: int | None, stop: Stop) -> Begun | datetime:
        """Whatever an attempt goes on to say, also if it is only its end, begins with its reset.

        The store has fenced the attempt before it off: what a lost worker still writes is refused.
        One that has paused goes on instead; until there is a reason to, it is left alone, and the
        time until which it waits is returned.
        """
        before = await self._log.attempts(job.id) if after is None else after
        kept = await self._pauses.last(job) if before else None
        if kept and kept.waits and stop() is None and await self._log.is_paused(job.id):
            return kept.expires_at
        notifier = await self._log.begin(job.id, after=before, goes_on=kept is not None)
        again = notifier.attempt > max(before, 1)
        if again:
            notifier.publish(Reset("new_attempt"), QUEUED)
        relay = Relay(notifier, self._max_answer)
        if kept is not None:
            try:
                await self._pauses.recall(job, relay, kept, again=again)
            except ChatError as error:
                return Begun(relay, kept, error)
        return Begun(relay, kept)

    async def begin_again(self, job: Job, after: int) -> NotifierPort:
        """The attempt behind that one of this very run's."""
        notifier = await self._log.begin(job.id, after=after)
        notifier.publish(Reset("new_attempt"), QUEUED)
        return notifier
