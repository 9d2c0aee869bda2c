"""Exactly one terminal event, whatever happens, and a line in the log that says which."""

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from sluice.application.metrics import JobMetrics
from sluice.application.process_chat import ProcessChat
from sluice.application.shadow_comparison import Ended
from sluice.domain.chat import now
from sluice.domain.errors import (
    UpstreamTruncated,
)
from sluice.domain.events import (
    Done,
    Failed,
    StageFailed,
    Token,
)
from tests.doubles import MockPipeline
from tests.unit.process_chat.bench import DONE, STARTED, Bench, failed


async def test_an_end_is_logged_by_its_request_without_its_text(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await bench.process(Token("secret", "x"), Done("A2", "secret"))(bench.job)
    assert f"job {bench.job.id} is completed, A2, request request" in caplog.text
    assert "secret" not in caplog.text


async def test_a_crash_ends_the_answer_without_telling_why(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.process(STARTED, Token("a", "x"), RuntimeError("secret"))(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert (end.code, end.request_id) == ("internal", "request")
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_an_error_fails_the_open_stages_and_keeps_the_partial_text(bench: Bench) -> None:
    await bench.process(STARTED, Token("a", "x"), UpstreamTruncated("secret"))(bench.job)
    assert await bench.told() == [
        STARTED, Token("a", "x"), StageFailed("answer", 0), failed(UpstreamTruncated),
    ]  # fmt: skip
    assert (await bench.kept())[-1] == ("assistant", "a", "failed")


async def test_a_pipeline_that_just_stops_is_an_error(bench: Bench) -> None:
    await bench.process(STARTED)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


async def test_a_run_that_outlives_its_deadline_ends(bench: Bench) -> None:
    await bench.process(asyncio.Event(), deadline=0.01)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "deadline_exceeded"


async def test_an_error_while_telling_closes_the_pipeline(bench: Bench) -> None:
    """The log refuses in the middle: the generator stands at a yield, and must not stay there."""
    pipeline = MockPipeline(STARTED, Token("a", "x"), Token("b", "x"), DONE)
    process = ProcessChat(
        pipeline, bench.log, bench.chats, JobMetrics(), bench.pauses, max_answer=1
    )
    await process(bench.job)
    assert pipeline.closed == 1


async def test_a_stray_cancellation_inside_the_pipeline_is_its_error(bench: Bench) -> None:
    await bench.process(asyncio.CancelledError())(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


@pytest.mark.parametrize(
    ("play", "level", "cause"),
    [
        (RuntimeError("secret"), "ERROR", "RuntimeError"),
        (UpstreamTruncated("cut off"), "WARNING", "UpstreamTruncated"),
        (asyncio.CancelledError("secret"), "WARNING", "CancelledError"),
        (asyncio.Event, "WARNING", "TimeoutError"),
    ],
)
async def test_a_failure_is_logged_with_its_cause_and_as_an_error_if_it_is_ours(
    bench: Bench, caplog: pytest.LogCaptureFixture, play: Any, level: str, cause: str
) -> None:
    waits = play is asyncio.Event
    await bench.process(play() if waits else play, deadline=0.01 if waits else 60)(bench.job)
    (record,) = [one for one in caplog.records if "failed" in one.getMessage()]
    assert record.levelname == level
    assert cause in record.getMessage()
    assert "secret" not in caplog.text


async def test_a_cancelled_job_is_logged_with_its_reason(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await bench.process(DONE)(bench.job, lambda: "user")
    assert f"job {bench.job.id} is cancelled: user, A2, request request" in caplog.text


async def test_a_shadow_is_told_what_ended_and_when_before_it_was_kept(bench: Bench) -> None:
    told, kept, keep = list[Ended](), list[datetime](), bench.chats.keep_answer

    async def keeping(*given: Any) -> None:
        kept.append(now())
        await keep(*given)

    bench.chats.keep_answer = keeping  # type: ignore[method-assign, assignment]
    shadow = SimpleNamespace(follow=told.append)
    await bench.process(STARTED, Token("ab", "answer"), DONE, shadow=shadow)(bench.job)
    (ended,) = told
    assert (ended.job, ended.end, ended.relay.text) == (bench.job, DONE, "ab")
    first = ended.relay.first_token_at
    assert first is not None
    assert ended.begun_at <= first <= ended.ended_at <= kept[0]
