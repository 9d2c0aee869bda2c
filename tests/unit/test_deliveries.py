"""What one process notes of what it hands to its readers, and when it writes that down."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from sluice.application import deliveries as module
from sluice.application.deliveries import Deliveries, Delivery, joined
from sluice.application.metrics import JobMetrics
from sluice.domain.chat import Job, now
from sluice.domain.errors import Internal, NotFound, Unavailable
from sluice.domain.events import (
    QUEUED,
    Cursor,
    Done,
    Event,
    Failed,
    NeedsInput,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from sluice.domain.outcome import Delivered
from sluice.infrastructure.pipeline.runs import translated
from tests.doubles import a_job
from tests.waiting import until

WORD, STAGE, DONE = Token("a", "x"), StageStarted("x", 0), Done("A2", "a")
ASKED = NeedsInput("yes", "May I?", "approval", "2026-11-01T12:00:00Z", None)


class Outcomes:
    """The part of an OutcomesPort that is written to here."""

    def __init__(self) -> None:
        self.kept: list[Delivered] = []
        self.forgotten: list[datetime] = []
        self.tries = 0
        self.away = False

    async def keep_delivered(self, delivered: Sequence[Delivered]) -> None:
        self.tries += 1
        if self.away:
            raise Unavailable("away")
        self.kept += delivered

    async def forget(self, before: datetime) -> None:
        self.forgotten.append(before)


class Noted:
    def __init__(self) -> None:
        self.outcomes, self.metrics = Outcomes(), JobMetrics()
        self.deliveries = Deliveries(self.outcomes, self.metrics, retention=60)  # type: ignore[arg-type]

    def read(self, job: Job, *events: Event) -> None:
        """One reader comes, is handed these at once, and leaves."""
        delivery = self.deliveries.of(job)
        with self.deliveries.reading(delivery):
            if events:
                delivery.batch(batch(*events))

    async def kept(self) -> list[Delivered]:
        await self.deliveries.flush()
        return self.outcomes.kept


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What `monotonic` says, one after the other."""
    times: list[float] = []
    monkeypatch.setattr(module, "monotonic", lambda: times.pop(0))
    return times


def batch(*events: Event) -> list[Recorded]:
    return [Recorded(Cursor(1, n), event) for n, event in enumerate(events, 1)]


@pytest.mark.parametrize(
    ("events", "seen", "spoke"),
    [
        ([QUEUED], False, False),
        ([Reset("new_attempt"), QUEUED], False, False),
        ([QUEUED, STAGE], True, False),
        ([QUEUED, ASKED], True, False),
        ([STAGE, QUEUED], True, False),
        ([QUEUED, STAGE, WORD], True, True),
        ([WORD], True, True),
        ([DONE], True, True),
        ([Done("A2", "")], True, False),
        ([Failed.of(Internal(), "request")], True, False),
    ],
)
def test_what_counts_as_seen_and_as_a_first_character(
    events: list[Event], *, seen: bool, spoke: bool
) -> None:
    delivery, before = Delivery(a_job()), now()
    delivery.batch(batch(*events))
    assert delivery.seen is seen
    assert (delivery.first_at is not None) is spoke
    if delivery.first_at is not None:
        assert before <= delivery.first_at <= now()


def test_the_first_character_stays_the_first() -> None:
    delivery = Delivery(a_job())
    delivery.token()
    first = delivery.first_at
    delivery.pauses()
    delivery.token()
    delivery.batch(batch(DONE))
    assert delivery.first_at is first


def test_tokens_of_one_batch_are_handed_over_at_one_moment(clock: list[float]) -> None:
    delivery = Delivery(a_job())
    clock += [1.0, 3.0]
    delivery.batch(batch(WORD, WORD, WORD))
    assert delivery.longest_gap is None
    delivery.batch(batch(WORD, WORD))
    assert delivery.longest_gap == 2.0
    assert not clock


def test_the_longest_gap_is_between_tokens_while_somebody_reads(clock: list[float]) -> None:
    delivery = Delivery(a_job())
    clock += [1.0, 2.0, 5.0, 6.0, 100.0, 101.0]
    for _ in range(4):
        delivery.token()
    delivery.pauses()
    for _ in range(2):
        delivery.token()
    assert delivery.longest_gap == 3.0


@pytest.mark.parametrize("rest", [[WORD], [DONE]])
def test_what_comes_behind_a_question_is_no_first_character_and_no_gap(
    clock: list[float], rest: list[Event]
) -> None:
    delivery = Delivery(a_job())
    clock += [1.0]
    delivery.batch(batch(QUEUED, ASKED, *rest))
    assert (delivery.seen, delivery.waited) == (True, True)
    assert (delivery.first_at, delivery.longest_gap) == (None, None)


def test_the_time_that_a_human_takes_is_no_gap(clock: list[float]) -> None:
    delivery = Delivery(a_job())
    clock += [1.0, 2.0, 90.0, 90.5]
    delivery.batch(batch(WORD))
    delivery.batch(batch(WORD, WORD, ASKED, WORD, WORD))
    first = delivery.first_at
    delivery.batch(batch(WORD))
    assert delivery.longest_gap == 1.0
    assert delivery.first_at is first is not None
    assert not clock


async def test_all_who_read_a_job_at_once_are_noted_as_one_and_when_the_last_has_left(
    noted: Noted,
) -> None:
    job = a_job()
    delivery = noted.deliveries.of(job)
    assert noted.deliveries.of(job) is delivery
    assert noted.deliveries.of(a_job()) is not delivery
    with noted.deliveries.reading(delivery):
        with noted.deliveries.reading(delivery):
            assert delivery.readers == 2
            delivery.token()
        assert await noted.kept() == []
    assert delivery.readers == 0
    assert await noted.kept() == [Delivered(job.id, delivery.first_at, None, seen=True)]


async def test_the_time_without_a_reader_is_no_gap(noted: Noted, clock: list[float]) -> None:
    delivery = noted.deliveries.of(a_job())
    clock += [1.0, 60.0, 61.0]
    with noted.deliveries.reading(delivery):
        delivery.token()
    with noted.deliveries.reading(delivery):
        delivery.token()
        delivery.token()
    (found,) = await noted.kept()
    assert found.longest_gap == 1.0


@pytest.mark.parametrize("error", [Unavailable("away"), NotFound()])
@pytest.mark.parametrize(("events", "notes"), [([], 0), ([WORD], 1)])
async def test_who_is_sent_away_has_left_early_only_if_shown_something(
    noted: Noted, error: Exception, events: list[Event], notes: int
) -> None:
    delivery = noted.deliveries.of(a_job())

    def sent_away() -> None:
        with noted.deliveries.reading(delivery):
            if events:
                delivery.batch(batch(*events))
            raise error

    with pytest.raises(type(error)):
        sent_away()
    assert len(await noted.kept()) == notes


async def test_who_leaves_by_an_error_of_its_own_has_left_early(noted: Noted) -> None:
    with (
        pytest.raises(ConnectionResetError),
        noted.deliveries.reading(noted.deliveries.of(a_job())),
    ):
        raise ConnectionResetError
    (found,) = await noted.kept()
    assert not found.seen


async def test_a_job_that_is_read_twice_is_joined_while_it_waits_to_be_written(
    noted: Noted,
) -> None:
    job = a_job()
    noted.read(job, WORD)
    noted.read(job)
    (found,) = await noted.kept()
    assert found.seen
    assert await noted.kept() == [found]
    assert noted.outcomes.tries == 1  # nothing waits: nothing is written


async def test_what_could_not_be_written_is_joined_with_what_came_meanwhile(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, outage = a_job(id="old"), a_job(id="new"), asyncio.Event()
    keep = noted.outcomes.keep_delivered

    async def away(_: Sequence[Delivered]) -> None:
        await outage.wait()
        raise Unavailable("away")

    monkeypatch.setattr(noted.outcomes, "keep_delivered", away)
    noted.read(old, WORD)
    writing = asyncio.create_task(noted.deliveries.flush())
    await asyncio.sleep(0)
    noted.read(new)
    outage.set()
    with pytest.raises(Unavailable):
        await writing
    monkeypatch.setattr(noted.outcomes, "keep_delivered", keep)
    assert [one.job_id for one in await noted.kept()] == ["old", "new"]


async def test_figures_are_of_who_reads_while_the_job_is_new_and_once_a_job(
    noted: Noted, clock: list[float]
) -> None:
    job = a_job(created_at=now() - timedelta(seconds=2))
    delivery = noted.deliveries.of(job)
    clock += [1.0, 1.5]
    for _ in range(2):
        with noted.deliveries.reading(delivery):
            if not delivery.seen:
                delivery.token()
                delivery.token()
    metrics = noted.metrics
    assert metrics.left_early == {"A2": 0}
    assert sum(metrics.first_character["A2"].counts) == 1
    assert 2 <= metrics.first_character["A2"].total < 7
    assert sum(metrics.longest_gap["A2"].counts) == 1
    assert metrics.longest_gap["A2"].total == 0.5


async def test_figures_of_who_leaves_early_have_no_times(noted: Noted) -> None:
    for _ in range(2):
        noted.read(a_job(path="A1"))
    assert noted.metrics.left_early == {"A1": 2}
    assert not noted.metrics.first_character
    assert not noted.metrics.longest_gap


@pytest.mark.parametrize(("seconds", "counted"), [(59, {"A2": 1}), (61, {})])
async def test_who_looks_an_old_answer_up_is_in_no_figure_but_is_noted(
    noted: Noted, seconds: int, counted: dict[str, int]
) -> None:
    noted.read(a_job(created_at=now() - timedelta(seconds=seconds)))
    assert noted.metrics.left_early == counted
    assert len(await noted.kept()) == 1


async def test_exactly_a_minute_old_is_new(noted: Noted) -> None:
    job = a_job()
    delivery = noted.deliveries.of(job)
    delivery.began = job.created_at + timedelta(minutes=1)
    with noted.deliveries.reading(delivery):
        pass
    assert noted.metrics.left_early == {"A2": 1}


async def test_it_writes_again_and_again_and_forgets_now_and_then(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep, at = asyncio.sleep, [1000.0]

    async def briefly(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def times(count: int) -> None:
        seen = len(slept)
        for _ in range(100):
            await sleep(0)
            if len(slept) >= seen + count:
                return
        raise AssertionError("it does not go on")

    monkeypatch.setattr("sluice.application.deliveries.asyncio.sleep", briefly)
    monkeypatch.setattr(module, "monotonic", lambda: at[0])
    keeping = asyncio.create_task(noted.deliveries.keep())
    for job in (a_job(), a_job()):
        noted.read(job)
        await times(3)
        assert noted.outcomes.kept[-1].job_id == job.id
    assert len(noted.outcomes.forgotten) == 1
    assert timedelta(seconds=60) <= now() - noted.outcomes.forgotten[0] < timedelta(seconds=65)
    for passed, forgets in [(600, 1), (0.1, 2), (600, 2), (0.1, 3)]:
        at[0] += passed
        await times(3)
        assert len(noted.outcomes.forgotten) == forgets
    keeping.cancel()
    assert set(slept) == {0.5}


async def test_while_the_store_is_away_the_oldest_are_dropped_and_it_is_asked_on(
    noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0)
    monkeypatch.setattr(module, "_MOST_WAITING", 2)
    noted.outcomes.away = True
    for number in range(4):
        noted.read(a_job(id=str(number)))
    keeping = asyncio.create_task(noted.deliveries.keep())
    await until(lambda: noted.outcomes.tries > 2)
    noted.outcomes.away = False
    await until(lambda: noted.outcomes.kept)
    keeping.cancel()
    assert [one.job_id for one in noted.outcomes.kept] == ["2", "3"]


async def test_what_nobody_foresaw_is_logged_and_does_not_end_it(
    noted: Noted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0)
    keep = noted.outcomes.keep_delivered

    async def fails(delivered: Sequence[Delivered]) -> None:
        monkeypatch.setattr(noted.outcomes, "keep_delivered", keep)
        raise ValueError

    monkeypatch.setattr(noted.outcomes, "keep_delivered", fails)
    noted.read(a_job(id="job"))
    keeping = asyncio.create_task(noted.deliveries.keep())
    await until(lambda: noted.outcomes.kept)
    keeping.cancel()
    assert "writing what readers were handed failed: ValueError" in caplog.text


def test_of_two_readings_the_earliest_and_the_longest_are_taken() -> None:
    early, late = now(), now() + timedelta(seconds=1)
    one = Delivered("job", late, 1.0, seen=False)
    other = Delivered("job", early, 2.0, seen=False)
    nothing = Delivered("job", None, None, seen=False)
    assert joined(one, other) == joined(other, one) == Delivered("job", early, 2.0, seen=False)
    assert joined(nothing, nothing) == nothing


def test_a_reader_is_held_without_a_generator() -> None:
    """It would take 0.4 KiB for each, as long as it reads."""
    noted = Noted()
    reading = noted.deliveries.reading(noted.deliveries.of(a_job()))
    assert not hasattr(reading, "__dict__")
    assert not hasattr(translated(), "__dict__")
