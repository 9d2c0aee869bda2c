"""Who waits in this process for a chat's next question, by the user's own name for the chat."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sluice.domain.chat import UserId

_LOOK_SECONDS = 2
"""Between two looks for what was asked elsewhere: in another process, or by another route."""


class Asked:
    def __init__(self) -> None:
        self._waiting: dict[tuple[UserId, str], set[asyncio.Event]] = {}

    def tell(self, user: UserId, name: str) -> None:
        for event in self._waiting.get((user, name), ()):
            event.set()

    @contextmanager
    def listening(self, user: UserId, name: str) -> Iterator[asyncio.Event]:
        """The event is set with every question from now on."""
        event = asyncio.Event()
        listeners = self._waiting.setdefault((user, name), set())
        listeners.add(event)
        try:
            yield event
        finally:
            listeners.discard(event)
            if not listeners:
                self._waiting.pop((user, name), None)


async def asked_or_time_to_look(event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            await event.wait()
    event.clear()
