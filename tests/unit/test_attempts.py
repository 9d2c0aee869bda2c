"""How an attempt begins: behind which other one, with a reset or as the one that has paused."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from sluice.application.attempts import Attempts, Begun
from sluice.application.pause_port import KeptPause
from sluice.application.relay import Relay
from sluice.domain.chat import Job, now
from sluice.domain.errors import AnswerTooLarge, Superseded
from sluice.domain.events import QUEUED, CancelReason, Event, Reset, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import a_job

YES = InputRequest("yes", "May I?", "approval")
RESET = [Reset("new_attempt"), QUEUED]


class Pauses:
    """The part of Pauses that is asked here."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.kept: KeptPause | None = None
        self.error: Exception | None = None
        self.recalled: list[tuple[Any, ...]] = []

    async def last(self, job: Job) -> KeptPause | None:
        assert job is self._job
        return self.kept

    async def recall(self, job: Job, relay: Relay, kept: KeptPause, *, again: bool) -> None:
        if self.error is not None:
            raise self.error
        self.recalled.append((job, relay, kept, again))


class House:
    def __init__(self) -> None:
        self.log, self.job = MemoryEventLog(), a_job()
        self.pauses = Pauses(self.job)
        self.attempts = Attempts(self.log, self.pauses, 3)  # type: ignore[arg-type]

    async def begin(self, after: int | None = None, stop: CancelReason | None = None) -> Any:
        return await self.attempts.begin(self.job, after, lambda: stop)

    async def began(self, after: int | None = None, stop: CancelReason | None = None) -> Begun:
        begun = await self.begin(after, stop)
        assert isinstance(begun, Begun)
        return begun

    async def pauses_at(self, *, seconds: float = 60, paused: bool = True, **fields: Any) -> None:
        """The first attempt has asked, and if it `paused` nobody has gone on with it."""
        self.pauses.kept = KeptPause(
            Pause(Head("chat"), (YES,)), 1, now() + timedelta(seconds=seconds), 1.5, **fields
        )
        notifier = await self.log.begin(self.job.id)
        if paused:
            await notifier.pause()

    async def told(self) -> list[Event]:
        return [one.event for one in (await self.log.read(self.job.id)).events][1:]


@pytest.fixture
async def house() -> House:
    house = House()
    await house.log.create(house.job, QUEUED)
    return house


async def test_the_first_attempt_goes_on_behind_the_beginning(house: House) -> None:
    begun = await house.began()
    assert (begun.relay.notifier.attempt, begun.kept, begun.spent) == (1, None, 0)
    assert await house.told() == []


async def test_a_later_attempt_begins_with_its_reset(house: House) -> None:
    await house.log.begin(house.job.id)
    begun = await house.began()
    assert (begun.relay.notifier.attempt, begun.kept) == (2, None)
    assert await house.told() == RESET


@pytest.mark.parametrize("after", [0, 2])
async def test_it_begins_behind_the_one_that_was_named_or_not_at_all(
    house: House, after: int
) -> None:
    await house.log.begin(house.job.id)
    with pytest.raises(Superseded):
        await house.begin(after)
    assert (await house.began(1)).relay.notifier.attempt == 2


async def test_a_job_that_has_not_begun_is_not_looked_up_among_those_that_paused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def last(_: Job) -> None:
        raise AssertionError

    monkeypatch.setattr(house.pauses, "last", last)
    assert (await house.began()).kept is None


async def test_an_answer_has_as_many_bytes_as_was_said(house: House) -> None:
    begun = await house.began()
    begun.relay.tell_again([Token("abc", "x")])
    with pytest.raises(AnswerTooLarge):
        begun.relay.tell_again([Token("d", "x")])


async def test_a_job_that_waits_is_left_alone(house: House) -> None:
    await house.pauses_at()
    assert house.pauses.kept is not None
    found: datetime = await house.begin()
    assert found == house.pauses.kept.expires_at
    assert await house.log.is_paused(house.job.id)
    assert house.pauses.recalled == []


@pytest.mark.parametrize(
    ("pause", "stop"),
    [({"answers": {"yes": True}}, None), ({"seconds": -1}, None), ({}, "user")],
    ids=["answered", "nobody has answered in time", "cancelled"],
)
async def test_it_goes_on_as_the_same_attempt(
    house: House, pause: dict[str, Any], stop: CancelReason | None
) -> None:
    await house.pauses_at(**pause)
    begun = await house.began(stop=stop)
    kept = house.pauses.kept
    assert (begun.relay.notifier.attempt, begun.kept, begun.spent) == (1, kept, 1.5)
    assert await house.told() == []
    assert house.pauses.recalled == [(house.job, begun.relay, kept, False)]
    assert not await house.log.is_paused(house.job.id)


@pytest.mark.parametrize("answers", [{}, {"yes": True}])
async def test_what_died_while_it_went_on_or_before_it_asked_is_told_again_by_the_next(
    house: House, answers: dict[str, Any]
) -> None:
    await house.pauses_at(paused=False, answers=answers)
    begun = await house.began()
    assert (begun.relay.notifier.attempt, begun.kept) == (2, house.pauses.kept)
    assert await house.told() == RESET
    assert house.pauses.recalled == [(house.job, begun.relay, house.pauses.kept, True)]


async def test_what_had_been_told_and_cannot_be_any_more_fails_the_attempt(house: House) -> None:
    await house.pauses_at(answers={"yes": True})
    assert (await house.began()).failed is None
    house.pauses.error = error = AnswerTooLarge()
    begun = await house.began()
    assert (begun.relay.notifier.attempt, begun.kept) == (2, house.pauses.kept)
    assert begun.failed is error


async def test_a_fallback_begins_behind_its_own_attempt_with_a_reset(house: House) -> None:
    begun = await house.began()
    begun.relay.notifier.publish(Token("a", "x"))
    notifier = await house.attempts.begin_again(house.job, 1)
    assert notifier.attempt == 2
    assert await house.told() == [Token("a", "x"), *RESET]
    with pytest.raises(Superseded):
        await house.attempts.begin_again(house.job, 1)
