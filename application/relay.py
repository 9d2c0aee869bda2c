"""From a pipeline to the log: every event is published where it happens, in line."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sluice.application.coalescing import SAFE_TOKEN_CHARACTERS, split
from sluice.application.codec import encode
from sluice.application.ports import PipelinePort
from sluice.application.shielding import until_over
from sluice.domain.chat import Question, now
from sluice.domain.errors import AnswerTooLarge, PipelineError
from sluice.domain.events import (
    Beside,
    Done,
    Event,
    Reasoning,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
)
from sluice.domain.graph_state import Advanced, Outcome, Pause
from sluice.domain.ports import NotifierPort

_CANCEL_ATTEMPTS = 3
_CANCEL_TIMEOUT_SECONDS = 1.0
"""Seconds for each of them."""

logger = logging.getLogger(__name__)


class Relay:
    """One attempt of a job, or one and its fallback: knows what the user has been told.

    `max_answer` is in bytes of UTF-8; what is told beside the answer may have as many. A token
    costs no task and no wait: it is published from inside the graph. Nodes are the user's code and
    must see no error of ours, so the first one stops the run and is raised by `run`.
    """

    def __init__(self, notifier: NotifierPort, max_answer: int) -> None:
        self.notifier = notifier
        self.open_stages: dict[str, None] = {}
        self.progress = 0
        self.question: Question | None = None
        """None until it is run."""
        self.first_token_at: datetime | None = None
        self.thrown_away = 0
        """Pieces that had been told when the pipeline took them back."""
        self.fallen_back = self.waited = self.asked = False
        """`asked`: a pause of this attempt may have been kept."""
        self._max_answer = max_answer
        self._pieces: list[str] = []
        self._size = self._beside = 0
        self._over: asyncio.Future[None] | None = None
        """What `run` waits for; None while there is nobody to tell."""
        self._error: Exception | None = None

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def tokens(self) -> int:
        """How many pieces the text was told in."""
        return len(self._pieces)

    def fall_back(self, notifier: NotifierPort) -> None:
        """Another attempt begins, on the other path. Nothing of the answer has been told."""
        self.notifier, self.fallen_back = notifier, True
        self.open_stages.clear()
        self._pieces.clear()
        self.progress = self._size = self._beside = 0

    def recall(self, events: Sequence[Event]) -> None:
        """Takes what the user has been told already, before a human was waited for."""
        self.waited = True
        for event in events:
            self._take(event)

    def tell_again(self, events: Sequence[Event]) -> None:
        """Publishes what an earlier attempt had told, before a human was waited for."""
        self.waited = True
        for event in events:
            self._publish(event)

    def check(self, events: Sequence[Event]) -> None:
        """Raises PipelineError and AnswerTooLarge for what could not be published."""
        self._check(self._beside + sum(_bytes(encode(event)[1]) for event in events))

    async def run(self, pipeline: PipelinePort, question: Question) -> Outcome:
        """Returns or raises when the pipeline has come to its end, also when cancelled."""
        self.question = question
        running = asyncio.create_task(pipeline.run(question, self._tell))
        self._over, self._error = until_over(running), None
        try:
            await self._over
        finally:
            self._over = None  # whatever is said from now on is said to nobody
            await _stop(running)
        if self._error is not None:
            raise self._error
        outcome = _result(running)
        if not isinstance(outcome, Pause):
            self._check_end(outcome.done if isinstance(outcome, Advanced) else outcome)
        return outcome

    def _check_end(self, done: Done) -> None:
        """An end that cannot be told would be none."""
        self._check(_bytes(done.answer))
        _bytes(f"{done.intent}{done.finish_reason}{done.hint}")

    def _tell(self, event: Event) -> None:
        if (over := self._over) is None:
            return
        try:
            if type(event) is Token and self.first_token_at is not None:  # nearly every event
                content = event.content  # what follows is `_say`, without a call
                self._size += len(content) if content.isascii() else _bytes(content)
                if self._size > self._max_answer:
                    self._check(self._size)
                self._pieces.append(content)
                if len(content) <= SAFE_TOKEN_CHARACTERS:
                    self.notifier.publish(event)
                else:
                    self.notifier.publish(*split(event))
            else:
                self._publish(event)
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._over, self._error = None, error
            if not over.done():
                over.set_result(None)

    def _publish(self, event: Event) -> None:
        if isinstance(event, Token):
            self._say(event.content)
            self.notifier.publish(*split(event))
            if self.first_token_at is None:
                self.first_token_at = now()
            return
        if isinstance(event, Beside):
            self._publish_beside(event)
            return
        self.notifier.publish(self._rising(event))
        # Behind that: a stage that could not be told is not open, nor could its failure be.
        self._take_change(event)

    def _say(self, content: str) -> None:
        self._size += _bytes(content)
        self._check(self._size)
        self._pieces.append(content)

    def _take(self, event: Event) -> None:
        if isinstance(event, Token):
            self._say(event.content)
        elif isinstance(event, Beside):
            self._beside += _size(event)
        else:
            self._rising(event)
            self._take_change(event)

    def _take_change(self, event: Event) -> None:
        match event:
            case StageStarted(stage):
                self.open_stages[stage] = None
            case StageCompleted(stage) | StageFailed(stage):
                self.open_stages.pop(stage, None)
            case Reset():
                self.thrown_away += len(self._pieces)
                self._pieces.clear()
                self._size = 0

    def _publish_beside(self, event: Beside) -> None:
        self._beside += _size(event)
        self._check(self._beside)
        if isinstance(event, Reasoning):
            self.notifier.publish(*split(event))
        else:
            self.notifier.publish(event)

    def _check(self, size: int) -> None:
        if size > self._max_answer:
            raise AnswerTooLarge

    def _rising(self, event: Event) -> Event:
        """Progress never falls within an attempt, whatever a pipeline says."""
        if isinstance(event, StageStarted | StageCompleted | StageFailed):
            if event.progress < self.progress:
                return replace(event, progress=self.progress)
            self.progress = event.progress
        return event


async def _stop(running: asyncio.Task[Outcome]) -> None:
    """One that goes on though it is cancelled is left alone: its job must have an end."""
    running.add_done_callback(_seen)
    for _ in range(_CANCEL_ATTEMPTS):
        if running.done():
            return
        running.cancel()
        await asyncio.wait([running], timeout=_CANCEL_TIMEOUT_SECONDS)
    if running.done():
        return
    logger.error("a node goes on though it was cancelled")


def _seen(running: asyncio.Task[Outcome]) -> None:
    """An error that nobody asks for would be printed with its text."""
    if not running.cancelled():
        running.exception()


def _result(running: asyncio.Task[Outcome]) -> Outcome:
    """Raises what the pipeline raised; what nobody would catch is a PipelineError."""
    try:
        return running.result()
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise PipelineError("a node raised what is no error") from error


def _size(event: Beside) -> int:
    return _bytes(event.content if isinstance(event, Reasoning) else encode(event)[1])


def _bytes(text: str) -> int:
    """Length in UTF-8. Raises PipelineError for a lone surrogate, which has none."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise PipelineError("a node said a lone surrogate") from error
