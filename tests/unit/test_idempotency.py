"""One key is one job: raced, refused, left or repeated."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sluice.application.keep_end import GIVEN_UP
from sluice.application.ports import Accepted, Record
from sluice.application.submit import NewMessage
from sluice.domain.chat import Job
from sluice.domain.errors import Abandoned, Conflict, LimitReached, Unavailable
from sluice.domain.events import QUEUED, Done, Event, Token
from tests.use_cases import ONE_AND_ONE, use_cases, waiting
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")

DONE = Done("A2", "")
Submit = Callable[[Job, Record, Record], Coroutine[Any, Any, None]]


async def test_ten_equal_submits_with_one_key_make_one_job() -> None:
    async with use_cases(waiting()) as house:
        ten = await asyncio.gather(*(house.ask(idempotency_key="key") for _ in range(10)))
        assert len(set(ten)) == 1
        assert await house.unfinished() == [ten[0].job_id]
        assert await house.said(ten[0].chat_id) == [("user", "Why?", "completed")]


async def test_an_equal_submit_after_the_job_is_over_gives_the_same_job_back() -> None:
    async with use_cases(DONE) as house:
        first = await house.ask(idempotency_key="key")
        await house.read(first.job_id)
        assert await house.ask(idempotency_key="key") == first
        assert await house.unfinished() == []
        assert len(house.pipeline.asked) == 1


async def test_a_key_outlives_its_jobs_log_and_the_model_is_not_asked_again() -> None:
    async with use_cases(Token("a", "x"), Done("A2", "a")) as house:
        first = await house.ask(idempotency_key="key")
        await house.read(first.job_id)
        await house.log.delete(first.chat_id)  # as its retention would
        assert await house.ask(idempotency_key="key") == first
        assert await house.unfinished() == []
        assert len(house.pipeline.asked) == 1
        assert await house.said(first.chat_id) == [
            ("user", "Why?", "completed"), ("assistant", "a", "completed"),
        ]  # fmt: skip


async def test_a_key_of_a_job_that_failed_without_a_word_gives_it_back_as_well() -> None:
    """Run once more it would have the same ids, and other events."""
    async with use_cases(RuntimeError()) as house:
        first = await house.ask(idempotency_key="key")
        await house.read(first.job_id)
        await house.log.delete(first.chat_id)  # as its retention would
        assert await house.ask(idempotency_key="key") == first
        assert await house.unfinished() == []
        assert len(house.pipeline.asked) == 1


async def test_a_job_that_nobody_read_is_given_back_and_not_run_again() -> None:
    """Its client had lost its connection, and asks again."""
    async with use_cases(waiting()) as house:
        first = await house.ask(idempotency_key="key")
        await house.queue.cancel(first.job_id, "orphaned")
        running = await house.ask("And then?", chat_id=first.chat_id)
        submits: list[str] = []
        submit = house.queue.submit

        async def counted(job: Job, *steps: Any) -> None:
            submits.append(job.id)
            await submit(job, *steps)

        house.queue.submit = counted  # type: ignore[method-assign, assignment]
        assert await house.ask(idempotency_key="key") == first
        assert submits == []
        assert await house.unfinished() == [running.job_id]


async def test_a_key_used_for_another_question_is_a_conflict() -> None:
    async with use_cases(waiting()) as house:
        first = await house.ask("Why?", idempotency_key="key")
        others: list[dict[str, Any]] = [
            {"message": "How?"},
            {"model": "m"},
            {"metadata": {"a": 1}},
            {"chat_id": first.chat_id},
            {"session": "s"},
        ]
        for other in others:
            with pytest.raises(Conflict):
                await house.ask(**{"message": "Why?", "idempotency_key": "key", **other})
        assert await house.unfinished() == [first.job_id]


async def test_a_key_belongs_to_its_user() -> None:
    async with use_cases(waiting()) as house:
        ann, bob = [await house.ask(user=user, idempotency_key="key") for user in ("ann", "bob")]
        assert ann.job_id != bob.job_id


async def test_a_refused_question_is_taken_later_with_its_key() -> None:
    async with use_cases(waiting(), bounds=ONE_AND_ONE) as house:
        taken = [await house.ask() for _ in range(2)]
        with pytest.raises(LimitReached):
            await house.ask("Why?", idempotency_key="key")
        await house.cancel("ann", taken[1].job_id)
        await house.read(taken[1].job_id)
        accepted = await house.ask("Why?", idempotency_key="key")
        assert accepted not in taken
        assert await house.ask("Why?", idempotency_key="key") == accepted


async def test_of_equal_submits_of_which_one_finds_no_room_the_key_stays_with_the_job() -> None:
    """Who was told to wait and asks again must find the job that an equal request made."""
    async with use_cases(waiting()) as house:
        submit = house.queue.submit
        house.queue.submit = first_refused(submit)  # type: ignore[method-assign, assignment]
        ten = [house.ask(idempotency_key="key") for _ in range(10)]
        answers = await asyncio.gather(*ten, return_exceptions=True)
        assert sum(isinstance(answer, LimitReached) for answer in answers) == 1
        house.queue.submit = submit  # type: ignore[method-assign]
        again = await house.ask(idempotency_key="key")
        assert await house.unfinished() == [again.job_id]


def first_refused(submit: Submit) -> Submit:
    """Room is found between the first and the second who ask for it."""
    calls: list[Job] = []

    async def submit_or_refuse(job: Job, record: Record, undo: Record) -> None:
        calls.append(job)
        if len(calls) == 1:
            raise LimitReached("the service is busy", per_user=False)
        await submit(job, record, undo)

    return submit_or_refuse


async def test_a_store_that_fails_leaves_no_job_and_its_question_is_taken_later() -> None:
    async with use_cases(waiting()) as house:
        create = house.log.create

        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("the store is down")

        house.log.create = fails  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await house.ask("Why?", session="s", idempotency_key="key")
        house.log.create = create  # type: ignore[method-assign]
        assert await house.said(await house.sessions.session("ann", "s", "")) == []
        assert (house.queue.running, house.queue.queued) == (0, 0)
        accepted = await house.ask("Why?", session="s", idempotency_key="key")
        assert await house.unfinished() == [accepted.job_id]


async def test_a_client_that_leaves_while_it_is_served_keeps_its_job_under_its_key() -> None:
    async with use_cases(waiting()) as house:
        client = asyncio.create_task(house.ask(idempotency_key="key"))
        await until(lambda: house.queue.queued, every=0)  # for a moment only
        client.cancel()
        await asyncio.wait([client])
        again = await house.ask(idempotency_key="key")
        assert await house.unfinished() == [again.job_id]


async def test_the_same_question_under_another_request_id_is_the_same_request() -> None:
    async with use_cases(waiting()) as house:
        first = await house.ask(idempotency_key="key", request_id="one", sticky="ann")
        assert await house.ask(idempotency_key="key", request_id="two") == first


async def test_a_job_whose_taker_died_before_it_could_run_is_run_for_the_next_equal_request() -> (
    None
):
    async with use_cases(DONE) as house:
        submit = house.queue.submit

        async def records_and_dies(_: Job, record: Record, __: Record) -> None:
            await record()
            raise asyncio.CancelledError

        house.queue.submit = records_and_dies  # type: ignore[method-assign, assignment]
        with pytest.raises(asyncio.CancelledError):
            await house.ask(idempotency_key="key")
        (left,) = await house.unfinished()
        house.queue.submit = submit  # type: ignore[method-assign]
        accepted = await house.ask(idempotency_key="key")
        assert accepted.job_id == left
        assert (await house.read(left))[-1] == DONE
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]


@pytest.mark.parametrize(
    "told", [None, [GIVEN_UP], [Token("a", "x"), GIVEN_UP], [Token("a", "x"), QUEUED, GIVEN_UP]]
)
async def test_a_job_that_is_given_up_while_it_is_taken_gives_its_key_to_another(
    told: list[Event] | None,
) -> None:
    """Whoever gave it up may have written its end, or not."""
    async with use_cases(waiting()) as house:
        submit, given_up = house.queue.submit, list[Job]()

        async def gives_up(job: Job, record: Record, _: Record) -> None:
            await record()
            if told:
                await (await house.log.begin(job.id)).end(*told)
            given_up.append(job)
            house.queue.submit = submit  # type: ignore[method-assign]
            raise Abandoned

        house.queue.submit = gives_up  # type: ignore[method-assign, assignment]
        accepted = await house.ask("Why?", session="s", idempotency_key="key")
        (first,) = given_up
        assert accepted.job_id != first.id
        assert (await house.log.read(first.id)).events[-1].event == GIVEN_UP
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]
        assert await house.ask("Why?", session="s", idempotency_key="key") == accepted
        assert await house.unfinished() == [accepted.job_id]


@pytest.mark.parametrize("begun", [False, True], ids=["never recorded", "begun elsewhere"])
async def test_a_job_whose_end_another_writes_or_nobody_is_given_up_all_the_same(
    begun: bool,
) -> None:
    async with use_cases(waiting()) as house:
        submit, begin, given_up = house.queue.submit, house.log.begin, list[Job]()

        async def overtaken(job_id: str, **how: Any) -> Any:
            house.log.begin = begin  # type: ignore[method-assign]
            first = await begin(job_id, **how)
            await begin(job_id, **how)
            return first

        async def gives_up(job: Job, record: Record, _: Record) -> None:
            if begun:
                await record()
                house.log.begin = overtaken  # type: ignore[method-assign]
            given_up.append(job)
            house.queue.submit = submit  # type: ignore[method-assign]
            raise Abandoned

        house.queue.submit = gives_up  # type: ignore[method-assign, assignment]
        accepted = await house.ask("Why?", session="s", idempotency_key="key")
        assert accepted.job_id != given_up[0].id
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]


async def test_a_job_that_is_given_up_and_has_no_key_is_asked_anew() -> None:
    async with use_cases(waiting()) as house:
        submit = house.queue.submit

        async def gives_up(job: Job, record: Record, _: Record) -> None:
            await record()
            house.queue.submit = submit  # type: ignore[method-assign]
            raise Abandoned

        house.queue.submit = gives_up  # type: ignore[method-assign, assignment]
        accepted = await house.ask("Why?", session="s")
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]
        assert await house.unfinished() == [accepted.job_id]


async def test_a_job_that_has_its_end_is_not_taken_for_one_that_was_given_up() -> None:
    """It ended while whoever submitted it was told that it was abandoned."""
    async with use_cases(waiting()) as house:
        ended: list[Job] = []
        submit = house.queue.submit

        async def ends(job: Job, record: Record, _: Record) -> None:
            await record()
            await (await house.log.begin(job.id)).end(DONE)
            ended.append(job)
            house.queue.submit = submit  # type: ignore[method-assign]
            raise Abandoned

        house.queue.submit = ends  # type: ignore[method-assign, assignment]
        accepted = await house.ask("Why?", idempotency_key="key")
        assert [job.id for job in ended] == [accepted.job_id]
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]


async def test_a_job_is_over_by_its_log_though_its_chat_never_knew() -> None:
    async with use_cases(DONE) as house:
        job = await house.a_log(DONE)
        asked = NewMessage("ann", "request", chat_id=job.chat_id, message="Why?")
        bound = Accepted(job.id, job.chat_id, job.path)
        await house.keys.claim("ann", "key", asked.fingerprint(), bound)
        assert await house.ask("Why?", chat_id=job.chat_id, idempotency_key="key") == bound
        assert house.pipeline.asked == []
        assert (house.queue.running, house.queue.queued) == (0, 0)
