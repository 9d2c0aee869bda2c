"""The queues that LangGraph streams through, without the room that asyncio's keep for waiters.

Each run of a graph makes one and waits in it, whether anybody reads its stream or not: 2 KiB of
every silent answer would be deques of nobody.
"""

import asyncio
from typing import Any

from langgraph.pregel import main

from sluice.application.lazy_event import LazyEvent
from sluice.application.short_deque import ShortDeque

_NAME = "AsyncQueue"
"""What LangGraph keeps to itself may change; then its queues stay as they are."""


class _Short(asyncio.Queue[Any]):
    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        waiters: Any = ShortDeque(), ShortDeque(), LazyEvent()
        self._getters, self._putters, self._finished = waiters
        self._finished.set()


def shorten_queues() -> None:
    """Once for all: whoever asks again finds it done."""
    theirs = getattr(main, _NAME, None)
    if not isinstance(theirs, type) or not issubclass(theirs, asyncio.Queue):
        return
    if not issubclass(theirs, _Short):
        setattr(main, _NAME, type(_NAME, (_Short, theirs), {}))
