"""A shadow: a job that is over runs once more, on the other path, and the two are compared.

Nobody is told of it. What it says is in no log and no chat, it is no outcome, and it holds no place
of a job's: it begins when its job has come to its end, in a task of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any

from sluice.application.background import survives
from sluice.application.metrics import JobMetrics
from sluice.application.ports import EventLogPort, PipelinePort
from sluice.application.relay import Relay
from sluice.application.shadow_comparison import (
    Ended,
    Stages,
    compared,
    last_attempt,
    result_of,
    shadow_of,
    stages_in,
)
from sluice.application.shadows import ShadowsPort
from sluice.application.spans import NoSpans, SpansPort
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ExecutionPath, Job, Question, now
from sluice.domain.errors import (
    AsksHuman,
    ChatError,
    DeadlineExceeded,
    Internal,
    NotFound,
    PipelineError,
    Unavailable,
)
from sluice.domain.events import Cancelled, Done, Event, StageFailed
from sluice.domain.outcome import left_out_of
from sluice.domain.rollout import Share
from sluice.domain.shadow import ShadowRun, Skipped, is_drawn

logger = logging.getLogger(__name__)

_AT_ONCE = 2
"""In this process: a job that ends meanwhile has no shadow."""
_LOOK_SECONDS = 1.0
"""A shadow goes on for so long at most when its chat has been deleted."""
_LAST_WORDS_SECONDS = 1.0
_LEAVES_WITHIN_SECONDS = 5.0


class Unpublished:
    """A NotifierPort that tells nobody, and counts stages."""

    attempt = 1

    def __init__(self) -> None:
        self.stages: Stages = Stages()

    def publish(self, *events: Event) -> None:
        self.stages += stages_in(events)

    async def flush(self) -> None:
        """Nothing is kept."""

    async def pause(self, *events: Event) -> None:
        """Nobody is asked."""

    async def end(self, *events: Event) -> None:
        """Nobody is told."""


class Shadow:
    """`budget` is in upstream tokens an hour, over all processes; `deadline` is in seconds and
    `max_answer` in bytes of UTF-8, as a job's.
    """

    def __init__(
        self,
        pipeline: Callable[[ExecutionPath], PipelinePort],
        shadows: ShadowsPort,
        log: EventLogPort,
        metrics: JobMetrics,
        share: Share,
        *,
        budget: int,
        deadline: float = 600,
        max_answer: int = 4 * 1024 * 1024,
        spans: SpansPort | None = None,
    ) -> None:
        self._pipeline, self._shadows, self._log = pipeline, shadows, log
        self._metrics, self._share, self._budget = metrics, share, budget
        self._deadline, self._max_answer = deadline, max_answer
        self._spans = spans or NoSpans()
        self._running: set[asyncio.Task[bool]] = set()
        self._noting: set[asyncio.Task[bool]] = set()
        self._leaving = False

    def follow(self, ended: Ended) -> None:
        """Begins the job's shadow, if it is drawn. Waits for nothing, and raises nothing."""
        job = ended.job
        if not self._share.percent or self._leaving or left_out_of(job) is not None:
            return
        if not is_drawn(job.id, self._share):
            return
        run = shadow_of(ended)
        if why := self._prevented(ended):
            self._start(self._skip(run, why), self._noting)
        else:
            self._start(self._run(run, ended), self._running)

    async def aclose(self) -> None:
        """Ends what runs: nobody waits for it. None begins any more."""
        self._leaving = True
        tasks = self._running | self._noting
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LEAVES_WITHIN_SECONDS)

    def _prevented(self, ended: Ended) -> Skipped | None:
        relay = ended.relay
        if isinstance(ended.end, Cancelled) or relay.question is None:
            return "cancelled"
        if relay.fallen_back:
            return "fell_back"
        if relay.waited or relay.asked:
            return "asked"
        return "busy" if len(self._running) >= _AT_ONCE else None

    def _start(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[bool]]) -> None:
        """In a context of its own: it is no part of its job's trace."""
        task = asyncio.create_task(survives(work, "a shadow"), name="shadow", context=Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _skip(self, run: ShadowRun, why: Skipped) -> None:
        await self._keep(replace(run, state="skipped", skipped=why, tokens=0))

    async def _keep(self, run: ShadowRun) -> None:
        if run.skipped is not None:
            self._metrics.shadows_skipped[run.skipped] += 1
        else:
            self._metrics.shadows[run.shadow.path, result_of(run)] += 1
        self._metrics.shadow_tokens += run.tokens
        await self._shadows.keep(run)

    async def _run(self, run: ShadowRun, ended: Ended) -> None:
        question = ended.relay.question
        with suppress(NotFound):  # its chat has been deleted
            real = stages_in(last_attempt((await self._log.read(run.job_id)).events))
            if not await self._shadows.begin(run, self._budget):
                await self._skip(run, "budget")
            elif question is not None:
                await self._keep(await self._compared(run, ended, question, real))

    async def _compared(
        self, run: ShadowRun, ended: Ended, question: Question, real: Stages
    ) -> ShadowRun:
        notifier, begun_at = Unpublished(), now()
        relay, path = Relay(notifier, self._max_answer), run.shadow.path
        looking = asyncio.create_task(self._cancel_if_deleted(ended.job, asyncio.current_task()))
        try:
            with self._spans.shadow(ended.job, path):
                done = await self._answer(relay, question, self._pipeline(path))
        except AsksHuman:
            return replace(run, state="skipped", skipped="asked")
        except ChatError as error:
            logger.info("shadow of job %s failed: %s", run.job_id, format_traceback(error))
            return replace(run, state="ended", shadow=replace(run.shadow, error=error.code))
        except asyncio.CancelledError:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_SECONDS):
                    await self._keep(replace(run, state="cancelled"))
            raise
        finally:
            looking.cancel()
        notifier.publish(*(StageFailed(stage, relay.progress) for stage in relay.open_stages))
        same = notifier.stages == real
        return compared(run, ended, done, relay, begun_at, same_stages=same)

    async def _answer(self, relay: Relay, question: Question, pipeline: PipelinePort) -> Done:
        """Raises ChatError."""
        try:
            async with asyncio.timeout(self._deadline):
                outcome = await relay.run(pipeline, question)
        except TimeoutError as error:
            raise DeadlineExceeded from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise PipelineError from error  # something inside the pipeline was cancelled
        except ChatError:
            raise
        except Exception as error:
            raise Internal from error
        if not isinstance(outcome, Done):
            raise AsksHuman
        return outcome

    async def _cancel_if_deleted(self, job: Job, shadow: "asyncio.Task[Any] | None") -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._log.job(job.id)
            except NotFound:
                if shadow is not None:
                    shadow.cancel()
                return
            except Unavailable:
                continue
