"""Every double, once. `Mock…` and `Scripted…` play, `Recording…` remembers."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from domain.chat import ExecutionPath, Job, Question, new_id
from domain.events import Event


class MockPipeline:
    """Plays events; raises what is an exception; waits where a Gate (asyncio.Event) stands."""

    def __init__(self, *plays: Event | BaseException | asyncio.Event) -> None:
        self._plays = plays
        self.asked: list[Question] = []
        self.closed = 0

    async def run(self, question: Question, /) -> AsyncGenerator[Event, None]:
        self.asked.append(question)
        try:
            for play in self._plays:
                if isinstance(play, BaseException):
                    raise play
                if isinstance(play, asyncio.Event):
                    await play.wait()
                else:
                    yield play
        finally:
            self.closed += 1


class RecordingNotifier:
    """A NotifierPort that keeps what it is told."""

    def __init__(self, attempt: int = 1) -> None:
        self.attempt = attempt
        self.events: list[Event] = []

    async def publish(self, *events: Event) -> None:
        self.events += events


class FixedFlag:
    """Every key takes the same path; remembers the keys."""

    def __init__(self, path: ExecutionPath = "A2") -> None:
        self._path = path
        self.keys: list[str] = []

    async def path(self, key: str) -> ExecutionPath:
        self.keys.append(key)
        return self._path


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
