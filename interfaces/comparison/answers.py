"""One answer, timed where its reader gets it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from sluice.domain import events
from sluice.domain.chat import ExecutionPath
from sluice.interfaces.client.reading import Received

PATHS: tuple[ExecutionPath, ...] = ("A1", "A2")

ASKS = "it asks a human"

Ask = Callable[[ExecutionPath, str], Iterable[Received]]
"""Asks a question on a path; gives every event of the answer, as it comes."""


@dataclass(slots=True)
class Stage:
    """`start` and `end` in seconds since the question; an open one has no end."""

    name: str
    start: float
    end: float | None = None


@dataclass(slots=True)
class Answer:
    """All times are seconds since the question was sent; None for what never came.

    `first_character` is the first that a user could read: on A1 that is the whole answer.
    `shown` are pairs of a time and how many characters the user had before him then.
    `trouble` says why there is no answer.
    """

    path: ExecutionPath
    question: str
    first_stage: float | None = None
    first_character: float | None = None
    whole: float | None = None
    longest_gap: float | None = None
    shown: list[tuple[float, int]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    digest: str | None = None
    trouble: str | None = "there was nothing more to read"

    def take(self, at: float, event: events.Event) -> None:
        match event:
            case events.Token(content):
                self._show(at, (self.shown[-1][1] if self.shown else 0) + len(content))
            case events.StageStarted(name):
                self.first_stage = at if self.first_stage is None else self.first_stage
                self.stages.append(Stage(name, at))
            case events.StageCompleted(name) | events.StageFailed(name):
                self._close(name, at)
            case events.Reset(reason):
                self.shown.append((at, 0))
                if reason == "new_attempt":
                    self.stages.clear()
            case events.Done(answer=answer):
                self._end(at, answer)
            case events.Failed(code):
                self.trouble = code
            case events.NeedsInput():
                self.trouble = ASKS
            case events.Cancelled(reason):
                self.trouble = f"cancelled: {reason}"

    def _show(self, at: float, characters: int) -> None:
        if self.first_character is None:
            self.first_character = at
        else:
            gap = at - self.shown[-1][0]
            self.longest_gap = gap if self.longest_gap is None else max(gap, self.longest_gap)
        self.shown.append((at, characters))

    def _close(self, name: str, at: float) -> None:
        for stage in self.stages:
            if stage.name == name and stage.end is None:
                stage.end = at

    def _end(self, at: float, answer: str) -> None:
        self.whole, self.trouble = at, None
        self.digest = sha256(answer.encode()).hexdigest()
        if self.path == "A1":
            self._show(at, len(answer))


def timed(ask: Ask, path: ExecutionPath, question: str) -> Answer:
    """Asks, and reads to the end. Raises ClientError as the client does."""
    answer = Answer(path, question)
    asked = time.monotonic()
    for received in ask(path, question):
        answer.take(time.monotonic() - asked, received.event)
        if answer.trouble == ASKS:
            break
    return answer


def in_turns(ask: Ask, questions: Sequence[str], rounds: int) -> Iterator[Answer]:
    """Every question on both paths, `rounds` times: who goes first changes with each pair.

    So what slows the machine or the model down for a while slows both.
    """
    first = 0
    for _ in range(rounds):
        for question in questions:
            for path in PATHS if first == 0 else reversed(PATHS):
                yield timed(ask, path, question)
            first = 1 - first
