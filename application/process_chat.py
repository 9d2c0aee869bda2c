"""The use case at the heart: a job's pipeline is run, and its log is written."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sluice.application.chat_ports import ChatPort
from sluice.application.graph_states import GraphStates
from sluice.application.metrics import JobMetrics
from sluice.application.ports import EventLogPort, PipelinePort, Stop
from sluice.application.relay import Relay
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, JobStatus, Message, Question, Turn
from sluice.domain.errors import (
    ChatError,
    DeadlineExceeded,
    Finished,
    Internal,
    NotFound,
    PipelineError,
    Superseded,
    Unavailable,
    WorkerLost,
)
from sluice.domain.events import (
    Cancelled,
    Done,
    Failed,
    Reset,
    StageCompleted,
    StageFailed,
    Terminal,
)
from sluice.domain.graph_state import Advanced, Head, Pause
from sluice.domain.ports import NotifierPort

logger = logging.getLogger(__name__)
T = TypeVar("T")

QUEUED = StageCompleted("queued", 0)
MAX_ATTEMPTS = 2
"""Of a job, without those that were handed back by a worker which left."""
GIVEN_UP = Cancelled("shutdown")
"""How a job ends that was given up before it ran."""
_RETRY_SECONDS = 0.5
"""Seconds between two tries while the chat cannot be read."""
_EMPTY_ANSWER_TIMEOUT_SECONDS = 1
"""Seconds for an end without a text to be kept."""


class ProcessChat:
    """Runs one job to its end: the only writer, exactly one terminal event, the only catch-all.

    `deadline` is in seconds, `max_answer` in bytes of UTF-8. With `states`, graphs may leave
    checkpoints, and keep the state of a chat.
    """

    def __init__(
        self,
        pipeline: PipelinePort,
        log: EventLogPort,
        chats: ChatPort,
        metrics: JobMetrics,
        *,
        deadline: float = 600,
        max_answer: int = 4 * 1024 * 1024,
        states: GraphStates | None = None,
    ) -> None:
        self._pipeline, self._log, self._chats = pipeline, log, chats
        self._metrics, self._states = metrics, states
        self._deadline, self._max_answer = deadline, max_answer

    async def __call__(
        self, job: Job, stop: Stop = lambda: None, after: int | None = None, returns: int = 0
    ) -> None:
        """Returns when the log has ended, also after a cancellation that `stop` explains.

        When `stop` says None, a cancelled run writes no end and raises CancelledError: the
        next attempt goes on. Raises Superseded when that has begun already, or when it is not
        `after` attempts that have. `returns`: attempts that do not count, as their worker left.
        """
        try:
            beginning = self._begin(job, after)
            notifier, cancelled = await _to_its_end(beginning, lambda: stop() is None)
        except (Finished, NotFound):
            logger.info("job %s is over already", job.id)
            return
        if cancelled and stop() is None:
            raise cancelled
        relay = Relay(notifier, self._max_answer)
        try:
            end = await self._run(job, relay, stop, MAX_ATTEMPTS + returns)
            await _to_its_end(self._end(job, relay, end))
        except NotFound:
            logger.info("job %s is no more", job.id)
        if self._states is not None and relay.question is not None:
            await _to_its_end(self._states.tidy(job, relay.question.head))

    async def _begin(self, job: Job, after: int | None) -> NotifierPort:
        """Whatever an attempt goes on to say, also if it is only its end, begins with its reset.

        The store has fenced the attempt before it off: what a lost worker still writes is refused.
        """
        notifier = await self._log.begin(job.id, after=after)
        if notifier.attempt > 1:
            notifier.publish(Reset("new_attempt"), QUEUED)
        return notifier

    async def _run(self, job: Job, relay: Relay, stop: Stop, last: int) -> Terminal | Advanced:
        if reason := stop():
            return Cancelled(reason)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._answer(job, relay, last)
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

    async def _answer(self, job: Job, relay: Relay, last: int) -> Done | Advanced:
        """`last` is the number of the last attempt that may be made."""
        if relay.notifier.attempt > last:
            raise WorkerLost
        outcome = await relay.run(self._pipeline, await self._question(job))
        if isinstance(outcome, Pause):
            raise PipelineError("the graph waits for a human, whom nobody asks yet")
        return outcome

    async def _end(self, job: Job, relay: Relay, end: Terminal | Advanced) -> None:
        """The answer is kept before the end is told: who reads `done` finds it in the chat."""
        head = None
        if isinstance(end, Advanced):
            head = end.head
            end = end.done
        failed = [StageFailed(stage, relay.progress) for stage in relay.open_stages]
        if isinstance(end, Cancelled):
            failed.clear()
        answer = end.answer if isinstance(end, Done) else relay.text
        await self._keep(job, answer, end, relay.notifier.attempt, head)
        await relay.notifier.end(*failed, end)
        self._metrics.ended[job.path, status_of(end)] += 1
        if isinstance(end, Failed):
            self._metrics.errors[end.code] += 1
        else:  # a failure was told with its cause
            why = f": {end.reason}" if isinstance(end, Cancelled) else ""
            told = (job.id, status_of(end), why, job.path, job.request_id)
            logger.info("job %s is %s%s, %s, request %s", *told)

    async def _keep(
        self, job: Job, answer: str, end: Terminal, attempt: int, head: Head | None
    ) -> None:
        """An end that has nothing to keep, nor to take back, does not wait for a store for long."""
        if job.history is not None:
            return
        keeping = self._chats.keep_answer(job, answer, status_of(end), attempt, head)
        if answer or attempt > 1 or head is not None:
            await keeping
        elif end == GIVEN_UP:
            keeping.close()  # nobody was told of the job: its key may ask for another one
        else:
            with suppress(TimeoutError, Unavailable):
                async with asyncio.timeout(_EMPTY_ANSWER_TIMEOUT_SECONDS):
                    await keeping

    async def _question(self, job: Job) -> Question:
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


def status_of(end: Terminal) -> JobStatus:
    match end:
        case Done():
            return "completed"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"


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


def _failed(job: Job, error: ChatError, cause: BaseException) -> Failed:
    """What the user is told, by the request's id; the log has the rest under the same id."""
    level = logging.ERROR if error.code == Internal.code else logging.WARNING
    told = (job.id, error.code, job.request_id, format_traceback(cause))
    logger.log(level, "job %s failed: %s, request %s: %s", *told)
    return Failed.of(error, job.request_id)


async def _to_its_end(
    work: Coroutine[Any, Any, T], gives_up: Callable[[], bool] = lambda: False
) -> tuple[T, asyncio.CancelledError | None]:
    """Awaits `work` through any number of cancellations; gives its result and the last of them.

    Where it `gives_up`, the work is cancelled too.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            if gives_up():
                task.cancel()
    return task.result(), cancelled
