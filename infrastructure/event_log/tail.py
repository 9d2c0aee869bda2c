"""A job's log as this process holds it: what was written, and who waits for more.

Every store fills one of these and lets its readers read from it, so that a live reader costs a
wake-up and a write, whatever the store.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Sequence
from operator import attrgetter

from application.wire import BEGINNING, MAX_TOKEN, record
from domain.errors import Finished
from domain.events import TERMINAL, Cursor, Recorded, Reset

_UNKNOWN = record(BEGINNING, Reset("cursor_unknown"))
_id = attrgetter("id")


class Tail:
    """Append-only; readers hold a position in it, not a queue."""

    __slots__ = ("_waiting", "broken", "records")

    def __init__(self, records: Iterable[Recorded] = ()) -> None:
        self.records = list(records)
        self.broken: Exception | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def ended(self) -> bool:
        return bool(self.records) and isinstance(self.records[-1].event, TERMINAL)

    @property
    def last(self) -> Cursor:
        return self.records[-1].id if self.records else BEGINNING

    def append(self, records: Iterable[Recorded]) -> None:
        self.records.extend(records)
        self.wake()

    def wake(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for reader in waiting:
                if not reader.done():
                    reader.set_result(None)

    def breaks(self, error: Exception) -> None:
        """Ends every reader with `error` once it has read what is here."""
        self.broken = error
        self.wake()

    def follow(self, after: Cursor | None) -> AsyncGenerator[Sequence[Recorded], None]:
        """Checks the cursor now (Finished), reads when iterated."""
        if after is None or after == BEGINNING:
            return self._read(0, known=True)
        index = bisect_left(self.records, after, key=_id)
        known = index < len(self.records) and self.records[index].id == after
        if known and isinstance(self.records[index].event, TERMINAL):
            raise Finished
        return self._read(index + 1 if known else 0, known=known)

    async def _read(
        self, position: int, *, known: bool
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        if not known:
            yield (_UNKNOWN,)
        while True:
            if batch := self._batch(position):
                position += len(batch)
                yield batch
                if isinstance(batch[-1].event, TERMINAL):
                    return
            elif self.broken is not None:
                raise self.broken
            else:
                reader = asyncio.get_running_loop().create_future()
                self._waiting.append(reader)
                await reader

    def _batch(self, position: int) -> Sequence[Recorded]:
        """What waits at `position`, at least one event and about MAX_TOKEN bytes at most."""
        records = self.records
        end = len(records)
        if end - position <= 1:
            return records[position:end]
        size = 0
        for index in range(position, end):
            size += len(records[index].frame)
            if size > MAX_TOKEN and index > position:
                return records[position:index]
        return records[position:end]
