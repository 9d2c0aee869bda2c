"""What a tracer is told: of each job, and of each reader's stream. Never a text."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sluice.domain.chat import ExecutionPath, Job
from sluice.domain.events import Terminal

TellEnd = Callable[[Terminal], None]


class SpansPort(Protocol):
    def job(self, job: Job, attempt: int | None) -> AbstractContextManager[TellEnd]:
        """While one attempt of the job runs, or None for what goes on after a pause; it is told of
        the end, if it comes to one."""
        ...

    def delivery(self, job: Job) -> AbstractContextManager[None]:
        """While one reader is written to, on another process maybe: linked to the job."""
        ...

    def shadow(self, job: Job, path: ExecutionPath) -> AbstractContextManager[None]:
        """While the job runs once more, on that path: linked to the job."""
        ...


class NoSpans:
    """A SpansPort for whoever traces nothing."""

    @contextmanager
    def job(self, job: Job, attempt: int | None) -> Iterator[TellEnd]:
        yield _told

    @contextmanager
    def delivery(self, job: Job) -> Iterator[None]:
        yield

    @contextmanager
    def shadow(self, job: Job, path: ExecutionPath) -> Iterator[None]:
        yield


def _told(_end: Terminal) -> None:
    return
