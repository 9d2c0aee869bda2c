"""The only writer: what the pipeline says is told and kept, and nothing that cannot be."""

from typing import Any

import pytest

from sluice.application import history as history_module
from sluice.application.metrics import JobMetrics
from sluice.application.process_chat import ProcessChat
from sluice.domain.chat import Turn
from sluice.domain.errors import (
    Unavailable,
    UpstreamTruncated,
)
from sluice.domain.events import (
    QUEUED,
    Done,
    Event,
    Failed,
    StageStarted,
    Token,
)
from tests.doubles import MockPipeline, a_job
from tests.unit.process_chat.bench import COMPLETED, DONE, STARTED, Bench


async def test_what_the_pipeline_says_is_told_and_its_answer_kept(bench: Bench) -> None:
    await bench.process(STARTED, Token("a", "x"), Token("b", "x"), COMPLETED, DONE)(bench.job)
    assert await bench.told() == [STARTED, Token("a", "x"), Token("b", "x"), COMPLETED, DONE]
    assert await bench.kept() == [("user", "Why?", "completed"), ("assistant", "ab", "completed")]


async def test_a_chat_that_cannot_be_read_for_a_while_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_RETRY_SECONDS", 0)
    messages, outages = bench.chats.messages, [Unavailable("away"), Unavailable("away")]

    async def sometimes(user: str, chat_id: str) -> Any:
        if outages:
            raise outages.pop()
        return await messages(user, chat_id)

    monkeypatch.setattr(bench.chats, "messages", sometimes)
    await bench.process(DONE)(bench.job)
    assert await bench.told() == [DONE]
    assert outages == []


async def test_an_answer_too_large_is_an_error(bench: Bench) -> None:
    await bench.process(Token("가" * 4, "x"), DONE, max_answer=10)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "answer_too_large"


async def test_a_huge_token_is_split_and_nothing_of_it_lost(bench: Bench) -> None:
    text = "가나다" * 20_000
    await bench.process(Token(text, "x"), Done("A2", text))(bench.job)
    pieces = [event.content for event in await bench.told() if isinstance(event, Token)]
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 64 * 1024


async def test_a_lone_surrogate_is_an_error_of_the_pipeline(bench: Bench) -> None:
    await bench.process(Token("\ud800", "x"), DONE)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


@pytest.mark.parametrize(
    "play",
    [
        Done("A2", "ab", intent="\ud800"),
        Done("A2", "ab", finish_reason="\ud800"),
        StageStarted("\ud800", 0),
        StageStarted("answer", 0, "\ud800"),
    ],
    ids=["intent", "finish reason", "stage", "message"],
)
async def test_what_cannot_be_told_still_ends_in_an_error(bench: Bench, play: Event) -> None:
    await bench.process(play, DONE)(bench.job)
    (end,) = await bench.told()
    assert isinstance(end, Failed)


async def test_progress_never_falls(bench: Bench) -> None:
    await bench.process(StageStarted("a", 50), StageStarted("b", 10), DONE)(bench.job)
    assert (await bench.told())[:2] == [StageStarted("a", 50), StageStarted("b", 50)]


async def test_a_job_that_brings_its_history_is_asked_with_that(bench: Bench) -> None:
    turns, pipeline = [Turn("user", "q1"), Turn("assistant", "a1")], MockPipeline(DONE)
    job = a_job(history=tuple(turns))
    await bench.log.create(job, QUEUED)
    await ProcessChat(pipeline, bench.log, bench.chats, JobMetrics(), bench.pauses)(job)
    assert [asked.history for asked in pipeline.asked] == [turns]


async def test_how_jobs_ended_is_counted_and_the_pipeline_asked_each(bench: Bench) -> None:
    metrics, pipeline = JobMetrics(), MockPipeline(UpstreamTruncated("secret"))
    process = ProcessChat(pipeline, bench.log, bench.chats, metrics, bench.pauses)
    other = a_job()
    await bench.chats.add_question(other)
    await bench.log.create(other, QUEUED)
    for job in (bench.job, other):
        await process(job)
    assert metrics.ended == {("A2", "failed"): 2}
    assert metrics.errors == {"upstream_truncated": 2}
    assert [asked.job for asked in pipeline.asked] == [bench.job, other]
