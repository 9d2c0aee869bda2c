"""What is told from inside a graph is published there, and what goes wrong there stops it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress

import pytest

from sluice.application import relay
from sluice.application.ports import Tell
from sluice.application.relay import Relay
from sluice.domain.chat import Question
from sluice.domain.errors import AnswerTooLarge, PipelineError, Superseded
from sluice.domain.events import (
    Data,
    Done,
    Event,
    Reasoning,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Tool,
)
from tests.doubles import RecordingNotifier, a_job, done_of

DONE = Done("A2", "ab")
WORDS = [Token("a", "x"), Token("b", "x")]


class OddPipeline:
    """Does what a node may do: whatever it likes."""

    def __init__(self, node: Callable[[Tell], Awaitable[Done]]) -> None:
        self._node = node

    async def run(self, question: Question, tell: Tell, /) -> Done:
        self.asked = question
        return await self._node(tell)


class FencedNotifier(RecordingNotifier):
    """Takes one event."""

    def publish(self, *events: Event) -> None:
        if self.events:
            raise Superseded
        super().publish(*events)


async def relayed(notifier: RecordingNotifier, node: Callable[[Tell], Awaitable[Done]]) -> Done:
    async with asyncio.timeout(5):
        return done_of(await Relay(notifier, 100).run(OddPipeline(node), Question(a_job())))


async def test_an_event_is_published_before_the_node_goes_on() -> None:
    notifier = RecordingNotifier()
    seen: list[int] = []

    async def node(tell: Tell) -> Done:
        for word in WORDS:
            tell(word)
            seen.append(len(notifier.events))
        return DONE

    assert await relayed(notifier, node) == DONE
    assert (notifier.events, seen) == (WORDS, [1, 2])


BESIDE: list[Event] = [
    Tool("1", "look", "x", "completed", result="x" * 60),
    Reasoning("x" * 60, "x"),
    Data("name", ["x" * 60], "x"),
]


@pytest.mark.parametrize("event", BESIDE)
async def test_what_is_told_beside_the_answer_is_bounded_as_the_answer_is_and_no_part_of_it(
    event: Event,
) -> None:
    notifier = RecordingNotifier()

    async def once(tell: Tell) -> Done:
        for word in (*WORDS, event):
            tell(word)
        return DONE

    async def often(tell: Tell) -> Done:
        tell(event)
        tell(event)
        return DONE

    async with asyncio.timeout(5):
        attempt = Relay(notifier, 180)
        assert await attempt.run(OddPipeline(once), Question(a_job())) == DONE
    assert (notifier.events, attempt.text) == ([*WORDS, event], "ab")
    with pytest.raises(AnswerTooLarge):
        await relayed(RecordingNotifier(), often)


async def test_long_reasoning_is_told_in_pieces() -> None:
    notifier = RecordingNotifier()
    thought = Reasoning("페" * 40_000, "x")

    async def node(tell: Tell) -> Done:
        tell(thought)
        return DONE

    async with asyncio.timeout(5):
        await Relay(notifier, 10**6).run(OddPipeline(node), Question(a_job()))
    pieces = [event for event in notifier.events if isinstance(event, Reasoning)]
    assert "".join(piece.content for piece in pieces) == thought.content
    assert max(len(piece.content.encode()) for piece in pieces) <= 64 * 1024


@pytest.mark.parametrize(
    "event",
    [Reasoning("\ud800", "x"), Tool("\ud800", "a", "x", "started"), Data("a", "\ud800", "x")],
)
async def test_a_lone_surrogate_beside_the_answer_ends_the_run(event: Event) -> None:
    async def node(tell: Tell) -> Done:
        tell(event)
        return DONE

    with pytest.raises(PipelineError):
        await relayed(RecordingNotifier(), node)


async def test_a_node_sees_no_error_of_ours_and_is_stopped_by_it() -> None:
    notifier = FencedNotifier()
    reached: list[str] = []

    async def node(tell: Tell) -> Done:
        for word in [*WORDS, *WORDS]:
            tell(word)
        reached.append("told")
        await asyncio.sleep(60)
        reached.append("slept")
        return DONE

    with pytest.raises(Superseded):
        await relayed(notifier, node)
    assert (notifier.events, reached) == (WORDS[:1], ["told"])


async def test_a_node_that_will_not_be_stopped_ends_in_the_error_too() -> None:
    async def node(tell: Tell) -> Done:
        for word in WORDS:
            tell(word)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            tell(Token("c", "x"))
        return DONE

    notifier = FencedNotifier()
    with pytest.raises(Superseded):
        await relayed(notifier, node)
    assert notifier.events == WORDS[:1]


async def test_a_node_that_goes_on_for_good_does_not_keep_its_job_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay, "_CANCEL_TIMEOUT_SECONDS", 0.01)
    over, cancelled = asyncio.Event(), 0

    async def node(tell: Tell) -> Done:
        nonlocal cancelled
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                cancelled += 1
        raise RuntimeError("secret")

    running = asyncio.create_task(relayed(RecordingNotifier(), node))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled == 3
    assert "a node goes on" in caplog.text
    over.set()
    await asyncio.sleep(0.01)
    gc.collect()
    assert "secret" not in caplog.text


async def test_nor_does_one_that_is_stopped_by_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "_CANCEL_TIMEOUT_SECONDS", 0.01)
    over = asyncio.Event()

    async def node(tell: Tell) -> Done:
        tell(Token("x" * 101, "answer"))
        while not over.is_set():
            with suppress(asyncio.CancelledError):
                await over.wait()
        return DONE

    with pytest.raises(AnswerTooLarge):
        await relayed(RecordingNotifier(), node)
    over.set()


async def test_what_nobody_would_catch_is_a_pipeline_error() -> None:
    async def node(tell: Tell) -> Done:
        raise GeneratorExit

    with pytest.raises(PipelineError):
        await relayed(RecordingNotifier(), node)


async def test_what_outlives_its_run_is_not_heard() -> None:
    """A thread or a task that a node left behind, and a cleanup after a cancel."""
    notifier = RecordingNotifier()
    left: list[Tell] = []

    async def node(tell: Tell) -> Done:
        left.append(tell)
        tell(StageStarted("answer", 0))
        try:
            await asyncio.sleep(60)
        finally:
            tell(WORDS[0])
        return DONE

    running = asyncio.create_task(relayed(notifier, node))
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    left[0](WORDS[1])
    assert notifier.events == [StageStarted("answer", 0)]


def saying(*events: Event, done: Done = DONE) -> OddPipeline:
    async def node(tell: Tell) -> Done:
        for event in events:
            tell(event)
        return done

    return OddPipeline(node)


async def test_the_pipeline_is_asked_the_question() -> None:
    pipeline, question = saying(), Question(a_job())
    relay = Relay(RecordingNotifier(), 100)
    assert relay.question is None
    await relay.run(pipeline, question)
    assert pipeline.asked is relay.question is question


async def test_what_was_said_is_known_until_it_is_taken_back() -> None:
    relay = Relay(RecordingNotifier(), 100)
    await relay.run(saying(*WORDS), Question(a_job()))
    assert relay.text == "ab"
    await relay.run(saying(Reset("revised"), WORDS[1]), Question(a_job()))
    assert relay.text == "b"


async def test_what_was_taken_back_is_counted() -> None:
    relay = Relay(RecordingNotifier(), 100)
    assert relay.thrown_away == 0
    said: list[Event] = [*WORDS, Reset("revised"), WORDS[0], Reset("revised"), WORDS[1]]
    await relay.run(saying(*said), Question(a_job()))
    assert (relay.thrown_away, relay.tokens) == (3, 1)


async def test_a_thought_is_as_large_as_its_text() -> None:
    thoughts = [Reasoning("페" * 10, "x")] * 2
    await Relay(RecordingNotifier(), 60).run(saying(*thoughts), Question(a_job()))
    with pytest.raises(AnswerTooLarge):
        await Relay(RecordingNotifier(), 59).run(saying(*thoughts), Question(a_job()))


TOLD: list[Event] = [StageStarted("a", 40), *WORDS, *BESIDE[:2], StageStarted("b", 30)]
"""Before a human was waited for."""


def test_what_the_user_has_been_told_is_taken_and_told_to_nobody() -> None:
    notifier = RecordingNotifier()
    relay = Relay(notifier, 200)
    relay.recall(TOLD)
    assert (relay.waited, notifier.events) == (True, [])
    assert (relay.text, list(relay.open_stages), relay.progress) == ("ab", ["a", "b"], 40)
    relay.check([])
    with pytest.raises(AnswerTooLarge):
        relay.check(BESIDE[:1])


def test_all_that_was_told_before_a_pause_is_a_part_of_the_answers_size() -> None:
    told = [Token("ab", "answer"), Token("cd", "answer")]
    for bound in (4, 3):
        relay, again = Relay(RecordingNotifier(), bound), Relay(RecordingNotifier(), bound)
        for take in (relay.recall, again.tell_again):
            with pytest.raises(AnswerTooLarge) if bound == 3 else nullcontext():
                take(told)


def test_or_it_is_told_again() -> None:
    notifier = RecordingNotifier()
    relay = Relay(notifier, 200)
    relay.tell_again(TOLD)
    assert relay.waited
    assert notifier.events == [*TOLD[:-1], StageStarted("b", 40)]
    assert (relay.text, list(relay.open_stages)) == ("ab", ["a", "b"])


async def test_a_stage_is_open_from_its_start_to_its_end() -> None:
    relay = Relay(RecordingNotifier(), 100)
    started: list[Event] = [StageStarted(stage, 10) for stage in "abc"]
    ended: list[Event] = [
        StageCompleted("a", 20),
        StageFailed("c", 20),
        StageCompleted("never started", 30),
    ]
    await relay.run(saying(*started, *ended), Question(a_job()))
    assert list(relay.open_stages) == ["b"]


async def test_progress_that_falls_is_told_as_what_it_was() -> None:
    notifier = RecordingNotifier()
    relay = Relay(notifier, 100)
    stages = StageStarted("a", 40, "m"), StageCompleted("a", 30, "m"), StageStarted("b", 50)
    await relay.run(saying(*stages), Question(a_job()))
    assert notifier.events == [stages[0], StageCompleted("a", 40, "m"), stages[2]]
    assert relay.progress == 50


@pytest.mark.parametrize("piece", ["abcde", "페트\x80\x80"], ids=["ascii", "other"])
async def test_an_answer_may_be_as_large_as_its_bound_and_not_a_byte_more(piece: str) -> None:
    size = len(piece.encode())
    fits, more = [Token(piece, "x")] * 2, Token(".", "x")
    whole = Done("A2", piece * 2)

    async def told(*events: Event, done: Done) -> None:
        await Relay(RecordingNotifier(), 2 * size).run(
            saying(*events, done=done), Question(a_job())
        )

    await told(*fits, done=whole)
    await told(*fits, Reset("revised"), *fits, done=whole)
    with pytest.raises(AnswerTooLarge):
        await told(*fits, more, done=whole)
    with pytest.raises(AnswerTooLarge):
        await told(*fits, Reset("revised"), *fits, more, done=whole)
    with pytest.raises(AnswerTooLarge):
        await told(done=Done("A2", piece * 2 + "."))


async def test_a_token_that_is_too_long_is_told_in_pieces() -> None:
    notifier = RecordingNotifier()
    said = Token("a" * 20_000, "x")
    await Relay(notifier, 50_000).run(saying(said, said), Question(a_job()))
    assert notifier.events == [Token("a" * 16_384, "x"), Token("a" * 3_616, "x")] * 2


def test_a_fallback_begins_without_the_text_of_what_failed() -> None:
    falling = Relay(RecordingNotifier(), 100)
    falling.recall(WORDS)
    falling.fall_back(RecordingNotifier())
    assert (falling.text, falling.tokens) == ("", 0)
