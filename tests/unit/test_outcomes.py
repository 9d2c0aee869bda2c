"""What is written down of a job: by who runs it, and by who hands it to its readers."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from sluice.application import deliveries
from sluice.application.deliveries import joined
from sluice.application.keep_end import KeepEnd
from sluice.domain.chat import Turn, now
from sluice.domain.errors import Unavailable, UpstreamTruncated
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    CancelReason,
    Cursor,
    Done,
    Event,
    NeedsInput,
    Recorded,
    Reset,
    StageStarted,
    Token,
    Usage,
)
from sluice.domain.outcome import Delivered, JobOutcome, StoredOutcome
from sluice.domain.rollout import Flag
from sluice.interfaces.protocols.native.encoder import encoder_for
from tests.doubles import MockPipeline, a_job, an_outcome
from tests.use_cases import UseCases, use_cases
from tests.waiting import until

STARTED = StageStarted("answer", 0)
TOKENS = (Token("a", "answer"), Token("b", "answer"))
DONE = Done("A2", "ab", usage=Usage(3, 2, 5))


async def rows_of(house: UseCases) -> list[StoredOutcome]:
    await house.deliveries.flush()
    return list(await house.outcomes.page(after=0, limit=99))


async def outcome_of(
    house: UseCases, *plays: Any, stop: CancelReason | None = None, **fields: Any
) -> JobOutcome:
    job = await house.a_log(job=a_job(**fields))
    process = house.processing(MockPipeline(*plays))
    await process(job, lambda: stop)
    (row,) = await rows_of(house)
    assert row.outcome.job_id == job.id
    return row.outcome


async def test_an_answer_that_went_well_is_told_with_its_decision_and_its_times() -> None:
    flag = Flag(25, "control", "control", "r")
    async with use_cases() as house:
        found = await outcome_of(house, STARTED, *TOKENS, DONE, flag=flag)
        assert (found.arm, found.path, found.share) == ("A2", "A2", 25)
        assert (found.reason, found.source, found.rollout) == ("control", "control", "r")
        assert (found.status, found.error, found.cancelled_by) == ("completed", None, None)
        assert (found.tokens, found.thrown_away, found.attempts) == (2, 0, 1)
        assert (found.input_tokens, found.output_tokens) == (3, 2)
        assert (found.left_out, found.fell_back, found.spoiled) == (None, False, False)
        times = [found.admitted_at, found.begun_at, found.first_token_at, found.answered_at]
        assert None not in times
        assert times == sorted(times)  # type: ignore[type-var]


async def test_a_failure_is_told_with_its_code_and_what_it_threw_away() -> None:
    async with use_cases() as house:
        found = await outcome_of(house, *TOKENS, UpstreamTruncated())
        assert (found.status, found.error) == ("failed", "upstream_truncated")
        assert (found.tokens, found.thrown_away, found.answered_at) == (0, 2, None)
        assert not found.spoiled


async def test_a_cancel_is_told_with_who_did() -> None:
    async with use_cases() as house:
        found = await outcome_of(house, DONE, stop="orphaned")
        assert (found.status, found.cancelled_by) == ("cancelled", "orphaned")


async def test_a_text_that_was_taken_back_spoils_the_answer() -> None:
    async with use_cases() as house:
        found = await outcome_of(house, *TOKENS, Reset("revised"), Token("c", ""), Done("A2", "c"))
        assert (found.spoiled, found.tokens, found.thrown_away) == (True, 1, 2)


async def test_an_answer_that_is_not_what_was_said_is_spoiled() -> None:
    async with use_cases() as house:
        assert (await outcome_of(house, *TOKENS, Done("A2", "b"))).spoiled


async def test_an_answer_of_a1_is_said_at_its_end_and_not_spoiled() -> None:
    async with use_cases() as house:
        found = await outcome_of(house, STARTED, Done("A1", "ab"), path="A1")
        assert (found.spoiled, found.first_token_at, found.tokens) == (False, None, 0)


async def test_text_of_an_attempt_that_was_lost_is_counted_when_the_next_one_ends() -> None:
    async with use_cases() as house:
        job = await house.a_log()
        (await house.log.begin(job.id)).publish(STARTED, *TOKENS)
        process = house.processing(MockPipeline(*TOKENS, DONE))
        await process(job)
        (row,) = await rows_of(house)
        found = row.outcome
        assert (found.attempts, found.thrown_away, found.spoiled) == (2, 2, True)


async def test_a_job_whose_workers_are_all_lost_has_one_outcome() -> None:
    async with use_cases() as house:
        job = await house.a_log()
        for _ in range(2):
            await house.log.begin(job.id)
        await house.processing(MockPipeline(DONE))(job)
        (row,) = await rows_of(house)
        assert (row.outcome.error, row.outcome.attempts) == ("worker_lost", 3)


async def test_a_path_that_the_request_chose_is_left_out_of_figures() -> None:
    async with use_cases() as house:
        found = await outcome_of(house, DONE, flag=Flag(5, "header", "control", "r"))
        assert found.left_out == "header"


async def test_a_job_in_no_chat_has_an_outcome_and_no_text_is_kept() -> None:
    async with use_cases() as house:
        job = a_job(history=(Turn("user", "?"),))
        await house.log.create(job, QUEUED)
        process = house.processing(MockPipeline(*TOKENS, DONE))
        await process(job)
        assert [row.outcome.job_id for row in await rows_of(house)] == [job.id]


async def test_an_outcome_is_written_late_where_an_empty_end_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sluice.application.keep_end._OUTCOME_TIMEOUT_SECONDS", 0.01)
    async with use_cases() as house:
        job = await house.a_log()
        there, keep = asyncio.Event(), house.chats.keep_answer

        async def waits(*given: Any) -> None:
            await there.wait()
            await keep(*given)

        monkeypatch.setattr(house.chats, "keep_answer", waits)
        process = house.processing(MockPipeline())
        await process(job)
        assert (await house.log.read(job.id)).ended_at is not None
        assert await rows_of(house) == []
        there.set()
        await until(lambda: not KeepEnd._late)
        assert [row.outcome.status for row in await rows_of(house)] == ["failed"]


async def handed(house: UseCases, job_id: str) -> Delivered | None:
    await house.deliveries.flush()
    for row in await house.outcomes.page(after=0, limit=99):
        if row.outcome.job_id == job_id:
            return row.delivered
    return None


async def test_what_a_reader_was_handed_is_known_and_nothing_of_what_nobody_read() -> None:
    async with use_cases(STARTED, *TOKENS, DONE) as house:
        read, unread = (await house.ask()).job_id, (await house.ask()).job_id
        before = now()
        await house.read(read)
        await until(lambda: not house.queue.running)
        found = await handed(house, read)
        assert found is not None
        assert found.seen
        assert found.first_at is not None
        assert before <= found.first_at <= now()
        assert await handed(house, unread) is None


async def test_the_first_character_of_a1_is_its_whole_answers() -> None:
    async with use_cases(STARTED, Done("A1", "ab")) as house:
        job = (await house.ask()).job_id
        await house.read(job)
        found = await handed(house, job)
        assert found is not None
        assert found.first_at is not None
        assert found.longest_gap is None


async def test_pushed_tokens_are_told_once_for_all_readers_and_their_longest_gap_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([1.0, 1.5, 4.0, 4.25])
    monkeypatch.setattr(deliveries, "monotonic", lambda: next(clock))
    async with use_cases() as house:
        job = await house.a_log()
        notifier = await house.log.begin(job.id)
        pushed: list[bytes] = []

        def push(frames: bytes) -> bool:
            pushed.append(frames)
            return True

        readers = [
            await house.follow_job(job.user, job.id, after=None, encoder_for=encoder_for, push=push)
            for _ in range(2)
        ]
        ends = []
        for reader in readers:
            await anext(reader)
            ends.append(asyncio.ensure_future(anext(reader)))
        await asyncio.sleep(0)
        for token in ("a", "b", "c", "d"):
            notifier.publish(Token(token, "answer"))
        assert len(pushed) == 8
        await house.chats.keep_answer(job, "abcd", "completed", 1, an_outcome(job))
        await notifier.end(Done("A2", "abcd"))
        for end, reader in zip(ends, readers, strict=True):
            await end
            await reader.aclose()
        found = await handed(house, job.id)
        assert found is not None
        assert found.longest_gap == 2.5


def test_the_time_until_a_human_has_answered_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 1.5, 100.0, 100.25])
    monkeypatch.setattr(deliveries, "monotonic", lambda: next(clock))
    delivery = deliveries.Delivery(a_job())
    asked = NeedsInput("send", "Send it?", "approval", "2026-11-01T12:00:00Z")
    batches: list[list[Event]] = [[TOKENS[0]], [TOKENS[1], TOKENS[1], asked], [*TOKENS], [*TOKENS]]
    for seq, events in enumerate(batches):
        delivery.batch([Recorded(Cursor(1, seq), event) for event in events])
    assert (delivery.longest_gap, delivery.first_at is not None) == (0.5, True)
    assert next(clock, None) is None


@pytest.mark.parametrize(("events", "seen"), [((), False), ((STARTED,), True), (TOKENS, True)])
async def test_a_reader_who_leaves_before_seeing_anything_is_known(
    events: tuple[Event, ...], seen: bool
) -> None:
    async with use_cases(*events, asyncio.Event()) as house:
        job = (await house.ask()).job_id
        await until(lambda: len(house.log._logs[job].records) > len(events))
        async with aclosing(
            await house.follow_job("ann", job, after=None, encoder_for=encoder_for)
        ) as batches:
            await anext(batches)
        await house.cancel("ann", job)
        found = await handed(house, job)
        assert found is not None
        assert found.seen is seen


async def test_a_reader_whom_the_service_sends_away_has_not_left_early() -> None:
    async with use_cases(asyncio.Event()) as house:
        job = (await house.ask()).job_id
        batches = await house.follow_job("ann", job, after=None, encoder_for=encoder_for)
        await anext(batches)
        house.log.hang_up()
        with pytest.raises(Unavailable):
            await anext(batches)
        house.log._leaving = False
        await house.cancel("ann", job)
        assert await handed(house, job) is None


async def test_the_end_of_a_failed_job_is_seen_and_no_character_of_it() -> None:
    async with use_cases() as house:
        job = (await house.ask()).job_id
        await house.read(job)
        found = await handed(house, job)
        assert found is not None
        assert (found.seen, found.first_at) == (True, None)


async def test_while_the_store_is_away_what_was_delivered_waits() -> None:
    async with use_cases(*TOKENS, DONE) as house:
        job = (await house.ask()).job_id
        await house.read(job)
        keep = house.outcomes.keep_delivered

        async def away(*_: object) -> None:
            raise Unavailable("away")

        house.outcomes.keep_delivered = away  # type: ignore[method-assign, assignment]
        with pytest.raises(Unavailable):
            await house.deliveries.flush()
        house.outcomes.keep_delivered = keep  # type: ignore[method-assign]
        assert await handed(house, job) is not None


def test_two_readings_of_a_job_are_joined() -> None:
    early, late = now(), now()
    one = Delivered("job", late, None, seen=True)
    other = Delivered("job", early, 2.5, seen=False)
    assert joined(one, other) == joined(other, one) == Delivered("job", early, 2.5, seen=True)


async def test_a_cancelled_job_of_no_text_is_seen_as_cancelled_by_its_reader() -> None:
    async with use_cases(asyncio.Event()) as house:
        job = (await house.ask()).job_id
        await house.cancel("ann", job)
        assert (await house.read(job))[-1] == Cancelled("user")
        found = await handed(house, job)
        assert found is not None
        assert found.seen
