"""What is kept of a pause, what is asked, and what a run that goes on knows of what was told."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sluice.application.pause_port import KeptPause
from sluice.application.pauses import Pauses
from sluice.application.ports import JobLog
from sluice.application.relay import Relay
from sluice.domain.chat import Job, now
from sluice.domain.errors import AnswerTooLarge, PipelineError, Unavailable
from sluice.domain.events import (
    QUEUED,
    Cursor,
    Event,
    NeedsInput,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import RecordingNotifier, a_job

YES = InputRequest("yes", "May I?", "approval", {"type": "boolean"})
NAME = InputRequest("name", "Who?", "text")
PAUSE = Pause(Head("chat"), (YES, NAME))
UNTIL = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
STAGE, WORD, MORE = StageStarted("x", 10), Token("a", "x"), Token("b", "x")


class Store:
    """The part of a PausePort that is asked here; away for so many tries."""

    def __init__(self, outages: int = 0) -> None:
        self.did: list[object] = []
        self.outages = outages
        self.kept: KeptPause | None = None

    async def last(self, job_id: str) -> KeptPause | None:
        if self.outages:
            self.outages -= 1
            raise Unavailable("away")
        return self.kept if job_id == "job" else None

    async def keep(self, job: Job, kept: KeptPause) -> None:
        self.did.append((job, kept))

    async def close(self, job_id: str) -> None:
        self.did.append(job_id)


class Notifier(RecordingNotifier):
    """Tells the store's list when what was said is durable."""

    def __init__(self, attempt: int, did: list[object]) -> None:
        super().__init__(attempt)
        self._did = did

    async def flush(self) -> None:
        self._did.append("durable")


class Log(MemoryEventLog):
    """Holds these events of a first attempt or a later one; away for so many tries."""

    def __init__(self, events: Sequence[Recorded], outages: int = 0) -> None:
        super().__init__()
        self._events, self.outages = events, outages

    async def read(self, job_id: str) -> JobLog:
        if self.outages:
            self.outages -= 1
            raise Unavailable("away")
        assert job_id == "job"
        return JobLog(a_job(id=job_id), self._events, None)


def pauses(store: Store, log: MemoryEventLog | None = None) -> Pauses:
    return Pauses(store, log or MemoryEventLog(), timeout=60)  # type: ignore[arg-type]


def a_pause(attempt: int = 1, pause: Pause = PAUSE) -> KeptPause:
    return KeptPause(pause, attempt, UNTIL, 1.5)


def asked(request: InputRequest) -> NeedsInput:
    return NeedsInput(request.input_id, request.prompt, request.kind, "", request.schema)


async def test_a_pause_is_kept_when_what_was_said_is_durable() -> None:
    store, job = Store(), a_job()
    relay, before = Relay(Notifier(2, store.did), 1000), now()
    kept = await pauses(store).keep(job, relay, PAUSE, 1.5)
    assert store.did == ["durable", (job, kept)]
    assert relay.asked
    assert (kept.pause, kept.attempt, kept.spent, kept.answers) == (PAUSE, 2, 1.5, {})
    minute = timedelta(seconds=60)
    assert before + minute <= kept.expires_at <= now() + minute


@pytest.mark.parametrize("fell_back", [False, True])
async def test_a_run_that_goes_on_knows_whether_it_had_fallen_back(*, fell_back: bool) -> None:
    relay, goes_on = (Relay(RecordingNotifier(), 1000) for _ in range(2))
    relay.fallen_back = fell_back
    kept = await pauses(Store()).keep(a_job(), relay, PAUSE, 1.5)
    assert kept.pause == replace(PAUSE, fell_back=fell_back)
    await pauses(Store(), Log([])).recall(a_job(id="job"), goes_on, kept, again=False)
    assert goes_on.fallen_back is fell_back


@pytest.mark.parametrize(
    ("prompt", "error"), [("x" * 1000, AnswerTooLarge), ("\ud800", PipelineError)]
)
async def test_what_cannot_be_asked_is_not_kept(prompt: str, error: type[Exception]) -> None:
    store = Store()
    pause = Pause(Head("chat"), (InputRequest("x", prompt, "text"),))
    relay = Relay(Notifier(1, store.did), 500)
    with pytest.raises(error):
        await pauses(store).keep(a_job(), relay, pause, 0)
    assert store.did == []
    assert not relay.asked


@pytest.fixture
def in_seoul(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "KST-9")
        time.tzset()
        yield
    time.tzset()


async def test_only_what_has_no_answer_is_asked_and_until_when_in_utc(in_seoul: None) -> None:
    notifier, store = RecordingNotifier(), Store()
    seoul = UNTIL.astimezone(timezone(timedelta(hours=9)))
    until = "2026-11-01T12:00:00Z"
    kept = KeptPause(PAUSE, 1, seoul)
    await pauses(store).ask(notifier, kept)
    assert notifier.events == [
        NeedsInput("yes", "May I?", "approval", until, {"type": "boolean"}),
        NeedsInput("name", "Who?", "text", until, None),
    ]
    await pauses(store).ask(notifier, kept.with_answer("yes", True))
    assert notifier.events[2:] == [NeedsInput("name", "Who?", "text", until, None)]


async def test_a_store_that_is_away_is_asked_again_every_half_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []

    async def briefly(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("sluice.application.pauses.asyncio.sleep", briefly)
    store, log = Store(outages=2), Log([], outages=1)
    store.kept = a_pause()
    waiting, job = pauses(store, log), a_job(id="job")
    kept = await waiting.last(job)
    assert kept is store.kept
    assert slept == [0.5, 0.5]
    await waiting.recall(job, Relay(RecordingNotifier(), 100), store.kept, again=False)
    assert slept == [0.5] * 3
    assert caplog.text.count("job job waits for its store: Unavailable") == 3


async def test_the_end_of_a_job_closes_its_pauses() -> None:
    store = Store()
    await pauses(store).close(a_job(id="job"))
    assert store.did == ["job"]


def told(attempt: int, *events: Event) -> list[Recorded]:
    return [Recorded(Cursor(attempt, seq), event) for seq, event in enumerate(events, 1)]


FIRST = told(1, QUEUED, STAGE, WORD, asked(YES), asked(NAME), MORE)
SECOND = told(1, QUEUED, WORD) + told(2, Reset("new_attempt"), QUEUED, STAGE, MORE, asked(YES))
AGAIN = told(1, QUEUED, STAGE, asked(InputRequest("old", "?", "text")), WORD, asked(YES), MORE)


@pytest.mark.parametrize(
    ("log", "attempt", "events"),
    [(FIRST, 1, [STAGE, WORD]), (SECOND, 2, [STAGE, MORE]), (AGAIN, 1, [STAGE, WORD])],
    ids=["a first attempt", "a later one", "one that has asked before"],
)
async def test_a_run_that_goes_on_knows_what_its_attempt_had_told_before_it_asked(
    log: list[Recorded], attempt: int, events: list[Event]
) -> None:
    job, notifier = a_job(id="job"), RecordingNotifier(attempt)
    waiting, relay = pauses(Store(), Log(log)), Relay(notifier, 1000)
    await waiting.recall(job, relay, a_pause(attempt), again=False)
    assert notifier.events == []
    assert (relay.waited, relay.progress, list(relay.open_stages)) == (True, 10, ["x"])
    assert relay.text == "".join(one.content for one in events if isinstance(one, Token))
    await waiting.recall(job, Relay(notifier, 1000), a_pause(attempt), again=True)
    assert notifier.events == events


async def test_neighbouring_tokens_are_told_again_as_one() -> None:
    notifier = RecordingNotifier(2)
    log = Log(told(1, QUEUED, STAGE, WORD, MORE, asked(YES)))
    await pauses(Store(), log).recall(a_job(id="job"), Relay(notifier, 1000), a_pause(), again=True)
    assert notifier.events == [STAGE, Token("ab", "x")]
