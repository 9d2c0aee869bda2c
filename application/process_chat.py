"""The use case at the heart: a job's pipeline is run, and its log is written."""

import asyncio
import logging
from dataclasses import replace
from datetime import datetime

from sluice.application.attempts import Attempts, Begun
from sluice.application.chat_ports import ChatPort
from sluice.application.fallback import may_fall_back
from sluice.application.graph_states import GraphStates
from sluice.application.history import ReadQuestion
from sluice.application.keep_end import KeepEnd, status_of
from sluice.application.metrics import JobMetrics, count_end
from sluice.application.pause_port import KeptPause
from sluice.application.pauses import Pauses
from sluice.application.ports import EventLogPort, PipelinePort, Stop
from sluice.application.relay import Relay
from sluice.application.shadow import Shadow
from sluice.application.shadow_comparison import Ended
from sluice.application.shielding import to_its_end
from sluice.application.spans import NoSpans, SpansPort, TellEnd
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, Question, now
from sluice.domain.errors import (
    ChatError,
    DeadlineExceeded,
    Finished,
    Internal,
    NotFound,
    PipelineError,
    Superseded,
    WorkerLost,
)
from sluice.domain.events import (
    Cancelled,
    Done,
    Failed,
    StageFailed,
    Terminal,
)
from sluice.domain.graph_state import Advanced, Outcome

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 2
"""Of a job, without those that were handed back by a worker which left."""


class ProcessChat:
    """Runs one job to its end: the only writer, exactly one terminal event, the only catch-all.

    `deadline` is in seconds, `max_answer` in bytes of UTF-8. `fallback` runs what the pipeline
    could not begin to answer, as the job's next attempt.
    """

    def __init__(
        self,
        pipeline: PipelinePort,
        log: EventLogPort,
        chats: ChatPort,
        metrics: JobMetrics,
        pauses: Pauses,
        *,
        deadline: float = 600,
        max_answer: int = 4 * 1024 * 1024,
        fallback: PipelinePort | None = None,
        states: GraphStates | None = None,
        spans: SpansPort | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        self._pipeline, self._spans = pipeline, spans or NoSpans()
        self._pauses, self._metrics, self._fallback = pauses, metrics, fallback
        self._states, self._question = states, ReadQuestion(chats, states)
        self._shadow = shadow
        self._keep_end = KeepEnd(chats, log)
        self._attempts = Attempts(log, pauses, max_answer)
        self._deadline = deadline

    async def __call__(
        self, job: Job, stop: Stop = lambda: None, after: int | None = None, returns: int = 0
    ) -> datetime | None:
        """Returns when the log has ended, also after a cancellation that `stop` explains.

        Or, if the job waits for a human, with the time until which it does. When `stop` says
        None, a cancelled run writes no end and raises CancelledError: the next attempt goes on.
        Raises Superseded when that has begun already, or when it is not `after` attempts that
        have. `returns`: attempts that do not count, as their worker left.
        """
        try:
            begun, cancelled = await to_its_end(
                self._attempts.begin(job, after, stop), lambda: stop() is None
            )
        except (Finished, NotFound):
            logger.info("job %s is over already", job.id)
            await self._tidy(job, None)  # it may have asked, and its chat have been deleted since
            return None
        if isinstance(begun, datetime):
            return begun
        if cancelled and stop() is None:
            raise cancelled
        attempt = None if begun.kept else begun.relay.notifier.attempt
        with self._spans.job(job, attempt) as tell_end:
            return await self._to_end(job, begun, stop, MAX_ATTEMPTS + returns, tell_end)

    async def _to_end(
        self, job: Job, begun: Begun, stop: Stop, last: int, tell_end: TellEnd
    ) -> datetime | None:
        begun_at = now()
        try:
            end = await self._run(job, begun, stop, last)
            if isinstance(end, KeptPause):
                logger.info("job %s waits for a human", job.id)
                return end.expires_at
            ended_at = now()
            await to_its_end(self._end(job, begun, end, begun_at))
            terminal = end.done if isinstance(end, Advanced) else end
            tell_end(terminal)
            if self._shadow is not None:
                self._shadow.follow(Ended(job, begun.relay, terminal, begun_at, ended_at))
        except NotFound:
            logger.info("job %s is no more", job.id)
        await self._tidy(job, begun.relay.question)
        return None

    async def _tidy(self, job: Job, asked: Question | None) -> None:
        if self._states is not None and self._states.has_left(job, asked):
            await to_its_end(self._states.tidy(job, asked))

    async def _run(
        self, job: Job, begun: Begun, stop: Stop, last: int
    ) -> Terminal | Advanced | KeptPause:
        if reason := stop():
            return Cancelled(reason)
        try:
            async with asyncio.timeout(self._deadline - begun.spent):
                return await self._answer(job, begun, last)
        except ChatError as error:
            return _failed(job, error, error)
        except TimeoutError as error:
            return _failed(job, DeadlineExceeded(), error)
        except asyncio.CancelledError as error:
            if reason := stop():
                return Cancelled(reason)
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            # Nobody cancelled this run: something inside the pipeline was, and took it along.
            return _failed(job, PipelineError(), error)
        except Superseded:
            raise
        except NotFound:
            return Cancelled("user")  # the chat was deleted; if its log was too, nobody is told
        except Exception as error:  # noqa: BLE001 - the one catch-all
            return _failed(job, Internal(), error)

    async def _answer(self, job: Job, begun: Begun, last: int) -> Done | Advanced | KeptPause:
        """`last` is the number of the last attempt that may be made."""
        relay, kept = begun.relay, begun.kept
        if relay.notifier.attempt > last:
            raise WorkerLost
        if begun.failed is not None:
            raise begun.failed
        if kept is None or not kept.missing:
            began = asyncio.get_running_loop().time() - begun.spent
            question = await self._question(job)
            if kept is not None:
                question = replace(question, resumption=kept.resumption)
            end = await self._ran(relay, question, last)
            if isinstance(end, Done | Advanced):
                return end
            spent = asyncio.get_running_loop().time() - began
            kept = await self._pauses.keep(job, relay, end, spent)
        elif kept.expired:
            raise DeadlineExceeded
        await to_its_end(self._pauses.ask(relay.notifier, kept))
        return kept

    async def _ran(self, relay: Relay, question: Question, last: int) -> Outcome:
        """On the job's path, or on the other one where that failed before it said anything."""
        job, attempt = question.job, relay.notifier.attempt
        if relay.fallen_back and self._fallback is not None:  # before a human was waited for
            return await relay.run(self._fallback, question)
        try:
            return await relay.run(self._pipeline, question)
        except Exception as error:
            if self._fallback is None or attempt >= last or not may_fall_back(relay, error):
                raise
            told = (job.id, job.request_id, format_traceback(error))
            logger.warning("job %s falls back, request %s: %s", *told)
        notifier, cancelled = await to_its_end(self._attempts.begin_again(job, attempt))
        relay.fall_back(notifier)
        if cancelled:
            raise cancelled
        return await relay.run(self._fallback, question)

    async def _end(
        self, job: Job, begun: Begun, end: Terminal | Advanced, begun_at: datetime
    ) -> None:
        """The answer is kept before the end is told: who reads `done` finds it in the chat."""
        relay, head = begun.relay, None
        if isinstance(end, Advanced):
            head, end = end.head, end.done
        failed = [StageFailed(stage, relay.progress) for stage in relay.open_stages]
        if isinstance(end, Cancelled):
            failed.clear()
        await self._keep_end(job, relay, end, begun_at, head)
        if begun.kept is not None or relay.asked:
            await self._pauses.close(job)
        await relay.notifier.end(*failed, end)
        count_end(self._metrics, job, relay, end)
        if not isinstance(end, Failed):  # a failure was told with its cause
            why = f": {end.reason}" if isinstance(end, Cancelled) else ""
            told = (job.id, status_of(end), why, job.path, job.request_id)
            logger.info("job %s is %s%s, %s, request %s", *told)


def _failed(job: Job, error: ChatError, cause: BaseException) -> Failed:
    """What the user is told, by the request's id; the log has the rest under the same id."""
    level = logging.ERROR if error.code == Internal.code else logging.WARNING
    told = (job.id, error.code, job.request_id, format_traceback(cause))
    logger.log(level, "job %s failed: %s, request %s: %s", *told)
    return Failed.of(error, job.request_id)
