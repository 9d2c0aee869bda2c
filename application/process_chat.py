"""The use case at the heart: a job's pipeline is run, and its log is written."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sluice.application.chat_ports import ChatPort
from sluice.application.keep_end import KeepEnd, status_of
from sluice.application.metrics import JobMetrics
from sluice.application.ports import EventLogPort, PipelinePort, Stop
from sluice.application.relay import Relay
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import Job, Message, Question, Turn, now
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
from sluice.domain.ports import NotifierPort

logger = logging.getLogger(__name__)
T = TypeVar("T")

QUEUED = StageCompleted("queued", 0)
MAX_ATTEMPTS = 2
"""Of a job, without those that were handed back by a worker which left."""
_OF_THE_STORE = (Finished, NotFound, Superseded, Unavailable)
_RETRY_SECONDS = 0.5
"""Seconds between two tries while the chat cannot be read."""


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
        *,
        deadline: float = 600,
        max_answer: int = 4 * 1024 * 1024,
        fallback: PipelinePort | None = None,
    ) -> None:
        self._pipeline, self._log, self._chats = pipeline, log, chats
        self._metrics, self._fallback = metrics, fallback
        self._keep_end = KeepEnd(chats, log)
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
        relay, begun_at = Relay(notifier, self._max_answer), now()
        try:
            end = await self._run(job, relay, stop, MAX_ATTEMPTS + returns)
            await _to_its_end(self._end(job, relay, end, begun_at))
        except NotFound:
            logger.info("job %s is no more", job.id)

    async def _begin(self, job: Job, after: int | None) -> NotifierPort:
        """Whatever an attempt goes on to say, also if it is only its end, begins with its reset.

        The store has fenced the attempt before it off: what a lost worker still writes is refused.
        """
        notifier = await self._log.begin(job.id, after=after)
        if notifier.attempt > 1:
            notifier.publish(Reset("new_attempt"), QUEUED)
        return notifier

    async def _run(self, job: Job, relay: Relay, stop: Stop, last: int) -> Terminal:
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

    async def _answer(self, job: Job, relay: Relay, last: int) -> Done:
        """`last` is the number of the last attempt that may be made."""
        attempt = relay.notifier.attempt
        if attempt > last:
            raise WorkerLost
        question = Question(job, await self._history(job))
        try:
            return await relay.run(self._pipeline, question)
        except Exception as error:
            if self._fallback is None or attempt >= last or not _may_fall_back(relay, error):
                raise
            told = (job.id, job.request_id, format_traceback(error))
            logger.warning("job %s falls back, request %s: %s", *told)
        notifier, cancelled = await _to_its_end(self._begin(job, attempt))
        relay.fall_back(notifier)
        if cancelled:
            raise cancelled
        return await relay.run(self._fallback, question)

    async def _end(self, job: Job, relay: Relay, end: Terminal, begun_at: datetime) -> None:
        """The answer is kept before the end is told: who reads `done` finds it in the chat."""
        failed = [StageFailed(stage, relay.progress) for stage in relay.open_stages]
        if isinstance(end, Cancelled):
            failed.clear()
        await self._keep_end(job, relay, end, begun_at)
        await relay.notifier.end(*failed, end)
        self._count(job, relay, end)
        if not isinstance(end, Failed):  # a failure was told with its cause
            why = f": {end.reason}" if isinstance(end, Cancelled) else ""
            told = (job.id, status_of(end), why, job.path, job.request_id)
            logger.info("job %s is %s%s, %s, request %s", *told)

    def _count(self, job: Job, relay: Relay, end: Terminal) -> None:
        metrics = self._metrics
        metrics.ended[job.path, status_of(end)] += 1
        metrics.fallbacks += relay.fallen_back
        if isinstance(end, Failed):
            metrics.errors[end.code] += 1
        if isinstance(end, Done):
            metrics.answer[job.path].add((now() - job.created_at).total_seconds())
            metrics.tokens[job.path, "input"] += end.usage.input_tokens if end.usage else 0
            metrics.tokens[job.path, "output"] += end.usage.output_tokens if end.usage else 0
        left = 0 if isinstance(end, Done) else relay.tokens
        metrics.tokens[job.path, "thrown_away"] += relay.thrown_away + left
        if relay.first_token_at is not None:
            took = relay.first_token_at - job.created_at
            metrics.first_token[job.path].add(took.total_seconds())

    async def _history(self, job: Job) -> list[Turn]:
        """Waits for a store that is away, as long as the job may last."""
        if job.history is not None:
            return list(job.history)
        while True:
            try:
                return history(await self._chats.messages(job.user, job.chat_id), job)
            except Unavailable as error:
                logger.warning("job %s waits for its chat: %s", job.id, format_traceback(error))
                await asyncio.sleep(_RETRY_SECONDS)


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


def _may_fall_back(relay: Relay, error: Exception) -> bool:
    """It failed before it said anything, and by no fault of the upstream's or of a store's."""
    if relay.first_token_at is not None:
        return False
    return isinstance(error, PipelineError) or not isinstance(error, (ChatError, *_OF_THE_STORE))


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
