"""A job that is over is run once more on the other path: what comes of it, and what is kept."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sluice.application import shadow as shadows
from sluice.application.ports import PipelinePort
from sluice.application.process_chat import MAX_ATTEMPTS
from sluice.application.shadow import Shadow
from sluice.application.shadow_comparison import result_of
from sluice.application.spans import NoSpans
from sluice.domain.chat import ExecutionPath, Job, Turn
from sluice.domain.errors import AsksHuman, PipelineError, Unavailable
from sluice.domain.events import (
    Done,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.domain.outcome import left_out_of
from sluice.domain.rollout import Flag, Share
from sluice.domain.shadow import ShadowRun, Side, is_drawn
from sluice.infrastructure.outcomes.sqlite_shadows import SqliteShadows
from tests.doubles import MockPipeline, a_job
from tests.use_cases import UseCases, use_cases, waiting
from tests.waiting import until

EARLIER = Turn("user", "x" * 300)
STAGES = (StageStarted("answer", 0), StageCompleted("answer", 50))
REAL = (*STAGES, Token("so", "answer"), Done("A2", "so", usage=Usage(3, 2, 5)))
OTHER = (*STAGES, Done("A1", "so", usage=Usage(3, 4, 7)))


@dataclass
class Shadowed:
    """`other` is what shadows run."""

    house: UseCases
    shadow: Shadow
    store: SqliteShadows
    asked: list[ExecutionPath]

    async def ran(self, *plays: Any, **fields: Any) -> Job:
        """A job, to the end of its shadow."""
        job = await self.begun(*plays, **fields)
        await self.settled()
        return job

    async def begun(
        self, *plays: Any, stop: Any = lambda: None, fallback: Any = None, **fields: Any
    ) -> Job:
        job = await self.house.a_log(job=a_job(**fields))
        process = self.house.processing(
            MockPipeline(*(plays or REAL)), shadow=self.shadow, fallback=fallback
        )
        await process(job, stop)
        return job

    async def given_up(self) -> Job:
        """A job whose workers were lost, all that may be."""
        job = await self.house.a_log()
        for _ in range(MAX_ATTEMPTS):
            await self.house.log.begin(job.id)
        await self.house.processing(MockPipeline(), shadow=self.shadow)(job)
        await self.settled()
        return job

    async def settled(self) -> None:
        await until(lambda: not self.shadow._running | self.shadow._noting)

    async def rows(self) -> list[ShadowRun]:
        return list(await self.store.newest(99))

    async def row(self) -> ShadowRun:
        (row,) = await self.rows()
        return row


@asynccontextmanager
async def shadowed(
    *plays: Any,
    share: float = 100,
    budget: int = 1000,
    **options: Any,
) -> AsyncIterator[Shadowed]:
    async with use_cases() as house:
        store = SqliteShadows(house.database)
        asked: list[ExecutionPath] = []

        def pipeline(path: ExecutionPath) -> PipelinePort:
            asked.append(path)
            return MockPipeline(*(plays or OTHER))

        shadow = Shadow(
            pipeline, store, house.log, house.metrics, Share(share), budget=budget, **options
        )
        yield Shadowed(house, shadow, store, asked)
        await shadow.aclose()


async def test_a_job_runs_once_more_on_the_other_path_and_both_are_kept() -> None:
    async with shadowed() as those:
        job = await those.ran()
        row = await those.row()
        assert (row.job_id, row.state, those.asked) == (job.id, "ended", ["A1"])
        assert (row.same_text, row.same_stages, row.tokens) == (True, True, 7)
        assert (row.real.path, row.shadow.path) == ("A2", "A1")
        assert (row.real.output_tokens, row.shadow.output_tokens) == (2, 4)
        assert row.real.first_token is not None
        assert row.shadow.first_token is None
        assert row.shadow.answer is not None
        assert (row.real.length, row.shadow.length) == (2, 2)
        counts = those.house.metrics
        assert counts.shadows == {("A1", "same"): 1}
        assert (counts.shadow_tokens, counts.shadows_skipped) == (7, {})


async def test_what_a_shadow_says_is_told_to_nobody_and_kept_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "KANARIE"
    told = (*STAGES, Token(canary, "answer"), Reset("revised"), Done("A2", canary))
    async with shadowed(*told) as those:
        job = await those.ran(*STAGES, Done("A1", "so"), path="A1")
        row = await those.row()
        assert (row.same_text, row.same_stages) == (False, True)
        assert row.shadow.first_token is not None
        house = those.house
        events = await house.read(job.id)
        assert canary not in str(events) + str(await house.said()) + str(row) + caplog.text
        (outcome,) = await house.outcomes.page(after=0, limit=9)
        assert (outcome.outcome.path, outcome.outcome.thrown_away) == ("A1", 0)
        assert house.metrics.ended == {("A1", "completed"): 1}
        assert not house.metrics.tokens
        dump = await house.database.read(lambda db: "\n".join(db.iterdump()))
        assert canary not in dump
        assert "so" in dump


async def test_the_job_has_its_end_before_its_shadow_begins_and_holds_no_place() -> None:
    async with shadowed(waiting()) as those:
        job = await those.begun()
        assert isinstance((await those.house.read(job.id))[-1], Done)
        await until(lambda: those.asked == ["A1"])
        assert (await those.row()).state == "running"


@pytest.mark.parametrize("share", [1, 25, 50])
def test_the_draw_meets_its_share_and_is_not_the_rollouts(share: float) -> None:
    jobs = [f"job {n}" for n in range(20_000)]
    drawn = [job for job in jobs if is_drawn(job, Share(share))]
    assert abs(len(drawn) / len(jobs) - share / 100) < 0.015
    arms = [Share(50).holds(job) for job in drawn]
    assert abs(sum(arms) / len(arms) - 0.5) < 0.1
    assert set(drawn) <= {job for job in jobs if is_drawn(job, Share(share + 5))}


async def test_without_a_share_there_is_none_and_a_job_whose_request_chose_has_none() -> None:
    async with shadowed(share=0) as those:
        await those.ran()
        assert (await those.rows(), those.asked) == ([], [])
    async with shadowed() as those:
        job = await those.ran(flag=Flag(50, "header", "env"))
        assert left_out_of(job) == "header"
        assert (await those.rows(), those.asked) == ([], [])


ASKS = Pause(Head("t"), (InputRequest("one", "go?", "text"),))


async def test_jobs_that_can_have_none_are_counted_by_why() -> None:
    async with shadowed() as those:
        told = iter([None, "user"])
        cancelled = await those.ran(asyncio.CancelledError(), stop=lambda: next(told))
        before = await those.ran(stop=lambda: "user")
        given_up = await those.given_up()
        fell_back = await those.ran(PipelineError(), fallback=MockPipeline(*OTHER))
        failed = await those.ran(PipelineError())
        rows = {row.job_id: row for row in await those.rows()}
        for job in (cancelled, before, given_up):
            assert rows[job.id].skipped == "cancelled"
        assert rows[fell_back.id].skipped == "fell_back"
        assert rows[failed.id].state == "ended"
        assert rows[failed.id].real == Side("A2", "pipeline_error")
        assert rows[failed.id].same_text is None
        assert those.asked == ["A1"]
        assert those.house.metrics.shadows_skipped == {"cancelled": 3, "fell_back": 1}


async def test_a_job_that_has_asked_a_human_has_none() -> None:
    async with shadowed() as those:
        job = await those.begun(ASKS, Done("A2", "so"))
        await those.settled()
        assert await those.rows() == []
        kept = await those.house.pauses.last(job.id)
        assert kept is not None
        await those.house.pauses.answer(job.id, "one", "yes")
        process = those.house.processing(MockPipeline(ASKS, Done("A2", "so")), shadow=those.shadow)
        await process(job)
        await those.settled()
        assert ((await those.row()).skipped, those.asked) == ("asked", [])


async def test_a_shadow_that_would_ask_a_human_asks_nobody() -> None:
    async with shadowed(AsksHuman()) as those:
        job = await those.ran()
        row = await those.row()
        assert (row.state, row.skipped, row.tokens) == ("skipped", "asked", 5)
        assert isinstance((await those.house.read(job.id))[-1], Done)
        assert await those.house.pauses.last(job.id) is None


async def test_a_failure_of_the_shadow_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with shadowed(Token("KANARIE", "answer"), RuntimeError("KANARIE")) as those:
        job = await those.ran()
        row = await those.row()
        assert (row.state, row.shadow.error) == ("ended", "internal")
        assert (row.real.error, row.same_text) == (None, None)
        assert those.house.metrics.shadows == {("A1", "failed"): 1}
        assert those.house.metrics.errors == {}
        assert isinstance((await those.house.read(job.id))[-1], Done)
    assert f"shadow of job {job.id} failed" in caplog.text
    assert "KANARIE" not in caplog.text


async def test_a_shadow_has_a_jobs_deadline_and_its_bound() -> None:
    async with shadowed(waiting(), deadline=0.01) as those:
        await those.ran()
        assert (await those.row()).shadow.error == "deadline_exceeded"
    async with shadowed(Token("x" * 99, "answer"), max_answer=9) as those:
        await those.ran()
        assert (await those.row()).shadow.error == "answer_too_large"


async def test_what_cancels_itself_within_a_shadow_is_a_failure() -> None:
    async with shadowed(asyncio.CancelledError()) as those:
        await those.ran()
        assert (await those.row()).shadow.error == "pipeline_error"


async def test_other_stages_are_seen_whatever_their_order() -> None:
    swapped = [StageStarted("b", 0), StageStarted("a", 0), StageCompleted("a", 9)]
    real = [StageStarted("a", 0), StageStarted("b", 0), StageCompleted("a", 9)]
    async with shadowed(*swapped, Done("A1", "so")) as those:
        alike = await those.ran(*real, Token("so", "a"), Done("A2", "so"))
        other = await those.ran(*STAGES, Token("so", "a"), Done("A2", "so"))
        told = {row.job_id: row.same_stages for row in await those.rows()}
        assert told == {alike.id: True, other.id: False}


async def test_a_stage_that_ends_in_another_way_is_another_stage() -> None:
    async with shadowed(StageStarted("a", 0), StageFailed("a", 0), Done("A1", "so")) as those:
        await those.ran(StageStarted("a", 0), StageCompleted("a", 9), Done("A2", "so"))
        assert (await those.row()).same_stages is False


async def test_a_job_of_a1_runs_once_more_on_a2() -> None:
    async with shadowed(*REAL) as those:
        await those.ran(*OTHER, path="A1")
        row = await those.row()
        assert (row.real.path, row.shadow.path, those.asked) == ("A1", "A2", ["A2"])
        assert (row.real.first_token, row.shadow.first_token is None) == (None, False)
        assert (row.real.input_tokens, row.shadow.input_tokens) == (3, 3)


async def test_beyond_the_budget_none_begins() -> None:
    async with shadowed(budget=12) as those:
        for _ in range(3):
            await those.ran()
        rows = await those.rows()
        assert sorted(row.tokens for row in rows) == [0, 7, 7]
        assert {row.skipped for row in rows} == {None, "budget"}
        assert await those.store.spent() == 14
        assert len(those.asked) == 2
        metrics = those.house.metrics
        assert (metrics.shadows, metrics.shadow_tokens) == ({("A1", "same"): 2}, 14)


async def test_what_the_upstream_does_not_count_is_guessed_by_its_length() -> None:
    async with shadowed(*STAGES, Done("A1", "so")) as those:
        await those.ran(Token("so", "a"), Done("A2", "so"), message="x" * 299)
        row = await those.row()
        assert (row.tokens, row.real.output_tokens, row.shadow.output_tokens) == (101, None, None)
        assert those.house.metrics.shadow_tokens == 101
    async with shadowed(*STAGES, Done("A2", "so")) as those:
        await those.ran(Done("A1", "so" * 60), path="A1", message="x", history=(EARLIER,))
        assert (await those.row()).tokens == 141, "what was never streamed was paid for, too"
    async with shadowed(*STAGES, Done("A1", "so"), budget=100) as those:
        await those.ran(Token("so", "a"), Done("A2", "so"), message="x" * 298)
        assert (await those.row()).skipped == "budget"


async def test_only_so_many_run_at_once_and_nothing_waits_for_them() -> None:
    async with shadowed(waiting()) as those:
        for _ in range(3):
            await those.begun()
        await until(lambda: len(those.asked) == 2 and not those.shadow._noting)
        states = sorted((row.state, row.skipped or "") for row in await those.rows())
        assert states == [("running", ""), ("running", ""), ("skipped", "busy")]


async def test_leaving_ends_what_runs_and_lets_none_begin() -> None:
    async with shadowed(waiting()) as those:
        await those.begun()
        await until(lambda: those.asked)
        await those.shadow.aclose()
        row = await those.row()
        assert (row.state, row.tokens) == ("cancelled", 5), "what it has cost is not known"
        assert those.house.metrics.shadows == {("A1", "cancelled"): 1}
        await those.ran()
        assert len(await those.rows()) == 1


async def test_a_chat_that_is_deleted_ends_its_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadows, "_LOOK_SECONDS", 0.01)
    async with shadowed(waiting()) as those:
        await those.begun()
        await until(lambda: those.asked)
        await those.house.delete_chat("ann", "chat")
        await those.settled()
        assert (await those.row()).state == "cancelled"


async def test_a_log_that_is_away_for_a_while_ends_no_shadow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadows, "_LOOK_SECONDS", 0.01)
    goes_on = asyncio.Event()
    async with shadowed(goes_on, *OTHER) as those:
        outages, found, looked = [Unavailable("away")], those.house.log.job, list[str]()

        async def job(job_id: str) -> Job:
            looked.append(job_id)
            if outages:
                raise outages.pop()
            return await found(job_id)

        monkeypatch.setattr(those.house.log, "job", job)
        asked = await those.begun()
        await until(lambda: len(looked) == 3)
        goes_on.set()
        await those.settled()
        assert ((await those.row()).state, set(looked)) == ("ended", {asked.id})


async def test_a_chat_that_was_deleted_before_has_none(caplog: pytest.LogCaptureFixture) -> None:
    async with shadowed() as those:
        await those.begun()
        await those.house.delete_chat("ann", "chat")
        await those.settled()
        assert (await those.rows(), those.asked) == ([], [])
    assert "a shadow failed" not in caplog.text


@pytest.mark.parametrize(
    ("hangs", "words", "leaves"), [(False, 60, 60), (True, 0.01, 60), (True, 60, 0.01)]
)
async def test_leaving_waits_for_no_store(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hangs: bool,
    words: float,
    leaves: float,
) -> None:
    monkeypatch.setattr(shadows, "_LAST_WORDS_SECONDS", words)
    monkeypatch.setattr(shadows, "_LEAVES_WITHIN_SECONDS", leaves)
    async with shadowed(waiting()) as those:
        await those.begun()
        await until(lambda: those.asked)
        back = asyncio.Event()

        async def keep(_: ShadowRun) -> None:
            if hangs:
                await back.wait()
            raise Unavailable("away")

        monkeypatch.setattr(those.store, "keep", keep)
        async with asyncio.timeout(5):
            await those.shadow.aclose()
        assert (await those.row()).state == "running"
        back.set()
        await those.settled()
    assert "a shadow failed" not in caplog.text


async def test_a_shadow_that_nobody_foresaw_to_fail_is_in_the_operators_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with shadowed() as those:

        async def begin(*_: Any) -> bool:
            raise RuntimeError("KANARIE")

        monkeypatch.setattr(those.store, "begin", begin)
        await those.ran()
    assert "a shadow failed: RuntimeError" in caplog.text
    assert "KANARIE" not in caplog.text


async def test_a_shadow_has_a_span_of_its_own_and_inherits_nothing_of_its_job() -> None:
    mine: ContextVar[str] = ContextVar("mine", default="nobody's")
    seen: list[Any] = []

    class Spans(NoSpans):
        def shadow(self, job: Job, path: ExecutionPath) -> AbstractContextManager[None]:
            seen.append((job, path, mine.get()))
            return super().shadow(job, path)

    async with shadowed(spans=Spans()) as those:
        mine.set("the job's")
        job = await those.ran()
    assert seen == [(job, "A1", "nobody's")]


async def test_a_later_attempt_is_held_beside_its_own_stages() -> None:
    async with shadowed() as those:
        job = await those.house.a_log(StageStarted("answer", 0), Token("s", "answer"))
        process = those.house.processing(MockPipeline(*REAL), shadow=those.shadow)
        await process(job, after=1)
        await those.settled()
        assert (await those.row()).same_stages is True


def test_what_came_of_a_shadow_has_a_name() -> None:
    both = ShadowRun("job", "ended", Side("A2"), Side("A1"), same_text=False)
    assert result_of(both) == "different"
    assert result_of(replace(both, same_text=True)) == "same"
    assert result_of(replace(both, same_text=None)) == "different", "only the job has failed"
    assert result_of(replace(both, shadow=Side("A1", "internal"))) == "failed"
    assert result_of(replace(both, state="cancelled")) == "cancelled"
