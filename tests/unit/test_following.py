"""What another protocol's route hands over, and what its stream ends with at a question."""

from collections.abc import AsyncGenerator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.application.jobs import JobView, view
from sluice.application.ports import JobLog
from sluice.domain.chat import Job
from sluice.domain.events import QUEUED, Cursor, NeedsInput, Recorded, Reset, StageStarted
from sluice.interfaces.http.following import Following
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import StreamStats
from sluice.interfaces.protocols.native.encoder import encoder_for
from tests.doubles import a_job

JOB = a_job(id="job")
ASKED = NeedsInput("yes", "May I?", "approval", "2026-11-01T12:00:00Z", None)
LOG = [
    Recorded(Cursor(1, 1), QUEUED),
    Recorded(Cursor(1, 2), StageStarted("ask", 0)),
    Recorded(Cursor(1, 3), ASKED),
]


def push(frames: bytes) -> bool:
    return True


class Services:
    """The use cases that a route follows a job by."""

    def __init__(self) -> None:
        self.followed: list[tuple[Any, ...]] = []
        self.events = LOG

    async def follow(self, *which: str, **how: Any) -> AsyncGenerator[Any, None]:
        self.followed.append((*which, how))
        return self._batches()

    async def _batches(self) -> AsyncGenerator[Any, None]:
        return
        yield

    async def show_job(self, user: str, job_id: str) -> Any:
        assert (user, job_id) == ("ann", "job")
        return view(JobLog(JOB, self.events))


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def stats() -> StreamStats:
    return StreamStats()


@pytest.fixture
def following(services: Services, stats: StreamStats) -> Following:
    request: Any = SimpleNamespace(scope={"extensions": {PUSH: push}})
    options: Any = SimpleNamespace(streams=stats, ping=7)
    user: Any = SimpleNamespace(id="ann", expires=1.5)
    return Following(request, services, options, user)  # type: ignore[arg-type]


async def test_a_job_is_followed_for_its_reader_from_its_beginning(
    following: Following, services: Services, stats: StreamStats
) -> None:
    stream = await following("job", encoder_for)
    how = {"after": None, "encoder_for": encoder_for, "skip": 0, "push": push, "reserved": False}
    assert services.followed == [("ann", "job", how)]
    assert stream.headers["X-Sluice-Job"] == "job"
    assert stream.ping_interval == 7
    assert stream.at_pause is None
    assert stats.resumes == 0


async def test_a_reader_that_gives_a_cursor_goes_on_behind_its_frames_and_is_counted(
    following: Following, services: Services, stats: StreamStats
) -> None:
    for _ in range(2):
        await following("job", encoder_for, Cursor(1, 2), 3)
    how = {"after": Cursor(1, 2), "encoder_for": encoder_for, "skip": 3, "push": push}
    how["reserved"] = False
    assert services.followed == [("ann", "job", how)] * 2
    assert stats.resumes == 2


async def test_a_question_ends_the_stream_unless_more_was_told_behind_it(
    following: Following, services: Services
) -> None:
    asked: list[tuple[Job, Sequence[Recorded]]] = []

    def closing(job: JobView) -> bytes:
        asked.append((job.job, job.events))
        return b"the end"

    stream = await following("job", encoder_for, closing=closing)
    assert stream.at_pause is not None
    assert await stream.at_pause(Cursor(1, 3)) == b"the end"
    assert asked == [(JOB, LOG)]
    assert await stream.at_pause(Cursor(1, 2)) is None
    services.events = [*LOG, Recorded(Cursor(2, 1), Reset("new_attempt"))]
    for last in (Cursor(1, 3), Cursor(2, 1)):
        assert await stream.at_pause(last) is None
    assert len(asked) == 1
