"""What a human answers to a job that asks."""

from collections.abc import Mapping

from sluice.application.follow import owned
from sluice.application.pause_json import same
from sluice.application.pause_port import KeptPause, PausePort
from sluice.application.ports import CheckValue, EventLogPort, JobQueuePort
from sluice.domain.chat import JobId, UserId
from sluice.domain.errors import Conflict, Expired
from sluice.domain.events import Json
from sluice.domain.graph_state import InputRequest

_WAKES_WITHIN_SECONDS = 5
"""Seconds until a job is looked at whose answer's giver has died."""


class AnswerInput:
    """A human's answers to what a job has asked. When all have come, the job goes on.

    It is looked at a few seconds later, too: who gives the last answer may die before it is woken.
    """

    def __init__(
        self, pauses: PausePort, log: EventLogPort, queue: JobQueuePort, check: CheckValue
    ) -> None:
        self._pauses, self._log, self._queue = pauses, log, queue
        self._check = check

    async def __call__(self, user: UserId, job_id: JobId, input_id: str, value: Json) -> None:
        """One answer. Raises as `all` does."""
        await self.all(user, job_id, {input_id: value})

    async def all(self, user: UserId, job_id: JobId, answers: Mapping[str, Json]) -> None:
        """Answers by their questions' ids: none is taken unless all can be. Idempotent.

        Raises NotFound, Conflict, Expired, Refused and Unavailable.
        """
        await owned(self._log, user, job_id)
        for input_id, value in answers.items():
            await self._check_answer(job_id, input_id, value)
        for input_id, value in answers.items():
            await self._queue.wake(job_id, within=_WAKES_WITHIN_SECONDS)
            kept = await self._pauses.answer(job_id, input_id, value)
            if not kept.missing:
                await self._queue.wake(job_id)

    async def _check_answer(self, job_id: JobId, input_id: str, value: Json) -> None:
        kept = await self._pauses.asking(job_id, input_id)
        if kept is None:
            raise Conflict("the job has not asked that")
        if input_id not in kept.answers:
            self._require_open(kept)
            _require_fitting(_request(kept, input_id), value, self._check)
        elif not same(kept.answers[input_id], value):
            raise Conflict("the question has been answered otherwise")

    def _require_open(self, kept: KeptPause) -> None:
        if kept.expired:
            raise Expired
        if kept.closed:
            raise Conflict("the job does not wait any more")


def _request(kept: KeptPause, input_id: str) -> InputRequest:
    return next(one for one in kept.pause.requests if one.input_id == input_id)


def _require_fitting(request: InputRequest, value: Json, check: CheckValue) -> None:
    """Raises Refused. Without a schema anything fits: only the graph knows what it wants."""
    if request.schema is not None:
        check(request.schema, value)
