"""Every double, once. `Mock…` plays, `Recording…` remembers; the model's is `sluice.testing`'s.

A double that a contract suite runs against cannot drift.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from threading import get_ident
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from sluice.application.model_calls import ToolCallPiece
from sluice.application.ports import Decision, PipelinePort, Tell
from sluice.domain.chat import ExecutionPath, Job, Question, new_id
from sluice.domain.errors import PipelineError, Unavailable
from sluice.domain.events import TERMINAL, Done, Event, Usage
from sluice.domain.graph_state import Advanced, Outcome, Pause
from sluice.domain.outcome import JobOutcome
from sluice.domain.ports import NotifierPort
from sluice.domain.rollout import Flag


class MockPipeline:
    """Plays events, the last an outcome; raises what is an exception; waits at an asyncio.Event.

    At a Pause it stops, and goes on behind it when it is resumed from there.
    """

    def __init__(self, *plays: Event | Advanced | Pause | BaseException | asyncio.Event) -> None:
        self._plays = plays
        self.asked: list[Question] = []
        self.closed = 0

    async def run(self, question: Question, tell: Tell, /) -> Outcome:
        self.asked.append(question)
        resumed, plays = question.resumption, list(self._plays)
        try:
            begin = plays.index(replace(resumed.pause, fell_back=False)) + 1 if resumed else 0
            for play in plays[begin:]:
                match play:
                    case BaseException():
                        raise play
                    case asyncio.Event():
                        await play.wait()
                    case Done() | Advanced() | Pause():
                        return play
                    case _:
                        tell(play)
            raise PipelineError("the play has no end")
        finally:
            self.closed += 1


class RecordingNotifier:
    """A NotifierPort that keeps what it is told."""

    def __init__(self, attempt: int = 1) -> None:
        self.attempt = attempt
        self.events: list[Event] = []

    def publish(self, *events: Event) -> None:
        self.events += events

    async def flush(self) -> None:
        pass

    async def pause(self, *events: Event) -> None:
        self.events += events

    async def end(self, *events: Event) -> None:
        self.events += events


class RecordingTeller:
    """A CallTeller that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.reasoned: list[str] = []
        self.tool_calls: list[ToolCallPiece] = []
        self.ends: list[tuple[Usage | None, str | None]] = []

    def say(self, text: str, /) -> None:
        self.said.append(text)

    def reason(self, text: str, /) -> None:
        self.reasoned.append(text)

    def call_tool(self, piece: ToolCallPiece, /) -> None:
        self.tool_calls.append(piece)

    def ended(self, usage: Usage | None, finish_reason: str | None, /) -> None:
        self.ends.append((usage, finish_reason))


class RecordingSpan:
    """A call's span that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def failed(self, code: str) -> None:
        self.told.append(code)

    def end(self, *_: object) -> None:
        self.told.append("over")


class FixedFlag:
    """Every key takes the same path, unless the request chose; remembers the keys."""

    def __init__(self, path: ExecutionPath = "A2") -> None:
        self._path = path
        self.keys: list[str] = []

    async def decide(self, key: str, asked: ExecutionPath | None = None) -> Decision:
        self.keys.append(key)
        flag = Flag(50, "split" if asked is None else "header", "env")
        return Decision(asked or self._path, flag)


class SaidShare:
    """A ShareSource that says what it is told to; `away` until somebody could know."""

    def __init__(self, flag: Flag | None, *, away: bool = False) -> None:
        self.flag, self.away = flag, away

    async def known(self) -> None:
        if self.away:
            raise Unavailable("away")


def a_job(message: str = "Why?", **fields: Any) -> Job:
    given: dict[str, Any] = {
        "id": new_id(),
        "chat_id": "chat",
        "user": "ann",
        "path": "A2",
        "message": message,
        "request_id": "request",
    }
    return Job(**given | fields)


def an_outcome(job: Job, **fields: Any) -> JobOutcome:
    """Of a job that went well, unless the fields say otherwise."""
    at = datetime(2026, 11, 1, 12, 0, 1, tzinfo=UTC)
    flag = job.flag or Flag(100, "static", "env")
    given: dict[str, Any] = {
        "job_id": job.id,
        "arm": job.path,
        "path": job.path,
        "share": flag.share,
        "reason": flag.reason,
        "source": flag.source,
        "rollout": flag.rollout,
        "left_out": None,
        "admitted_at": job.created_at,
        "begun_at": at,
        "ended_at": at,
        "first_token_at": None,
        "answered_at": at,
        "status": "completed",
        "error": None,
        "cancelled_by": None,
        "tokens": 2,
        "thrown_away": 0,
        "input_tokens": None,
        "output_tokens": None,
        "attempts": 1,
        "fell_back": False,
        "spoiled": False,
    }
    return JobOutcome(**given | fields)


async def publish(notifier: NotifierPort, *events: Event) -> None:
    """The last event may be the end or not."""
    if isinstance(events[-1], TERMINAL):
        await notifier.end(*events)
    else:
        notifier.publish(*events)


def done_of(outcome: Outcome) -> Done:
    """Of a run that has come to its end."""
    assert not isinstance(outcome, Pause)
    return outcome.done if isinstance(outcome, Advanced) else outcome


async def happening(pipeline: PipelinePort, asked: Question) -> AsyncGenerator[Event, None]:
    """What the pipeline tells, as it does; leaving stops it."""
    told: asyncio.Queue[Event | None] = asyncio.Queue()

    here, elsewhere = get_ident(), list[Event]()

    def tell(event: Event) -> None:
        told.put_nowait(event)
        if get_ident() != here:
            elsewhere.append(event)

    running = asyncio.create_task(pipeline.run(asked, tell))
    running.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while event := await told.get():
            yield event
        assert elsewhere == [], "told from another thread"
        yield done_of(running.result())
    finally:
        running.cancel()
        await asyncio.wait([running])


class ScriptedChatModel(BaseChatModel):
    """A user's LangChain model that says whole messages, tool calls among them, in order."""

    says: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *given: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.says.pop(0))])

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self
