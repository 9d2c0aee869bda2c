"""The queues of LangGraph's runs, without the room that deques keep for what never comes.

Each run makes one to stream through and waits in it, whether anybody reads its stream or not, and
one for the events of its life: 3 KiB of every silent answer would be deques of nobody.
"""

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from langgraph.pregel import main

from sluice.application.lazy_event import LazyEvent
from sluice.application.short_deque import ShortDeque

_EVENTS = "_graph_lifecycle_events"
"""What LangGraph keeps to itself may change; then its queues stay as they are."""


class _Short(asyncio.Queue[Any]):
    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        waiters: Any = ShortDeque(), ShortDeque(), LazyEvent()
        self._getters, self._putters, self._finished = waiters
        self._finished.set()


class _ShortLoop:
    async def __aenter__(self) -> Self:
        await super().__aenter__()  # type: ignore[misc]
        if type(events := getattr(self, _EVENTS, None)) is deque and not events:
            setattr(self, _EVENTS, ShortDeque())
        return self


def shorten_queues() -> None:
    """Once for all: whoever asks again finds it done."""
    _shorten("AsyncQueue", asyncio.Queue, _Short)
    _shorten("AsyncPregelLoop", AbstractAsyncContextManager, _ShortLoop)


def _shorten(name: str, kind: type, short: type) -> None:
    theirs = getattr(main, name, None)
    if not isinstance(theirs, type) or not issubclass(theirs, kind):
        return
    if not issubclass(theirs, short):
        setattr(main, name, type(name, (short, theirs), {}))
