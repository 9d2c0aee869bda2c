"""A job's log as this process holds it: what was written, and who waits for more.

Every store fills one of these and lets its readers read from it, so that a live reader costs a
wake-up and a write, whatever the store.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType

from application.wire import BEGINNING, MAX_TOKEN, record
from domain.errors import Finished
from domain.events import TERMINAL, Cursor, Recorded, Reset, Token

_UNKNOWN = record(BEGINNING, Reset("cursor_unknown"))
_NOTHING: Mapping[int, Sequence[str]] = MappingProxyType({})
_id = attrgetter("id")


class Tail:
    """Append-only; readers hold a position in it, not a queue.

    A store may load old tokens coalesced: `runs` then has the pieces of such a token by its
    index in `records`, and each piece's id is a cursor like any other.
    """

    __slots__ = ("_runs", "_waiting", "broken", "records")

    def __init__(
        self, records: Iterable[Recorded] = (), runs: Mapping[int, Sequence[str]] = _NOTHING
    ) -> None:
        self.records = list(records)
        self.broken: Exception | None = None
        self._runs = runs
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
            return self._read(0)
        index = bisect_left(self.records, after, key=_id)
        if index < len(self.records):
            found = self.records[index]
            if found.id == after:
                if isinstance(found.event, TERMINAL):
                    raise Finished
                return self._read(index + 1)
            if (rest := self._rest(index, after)) is not None:
                return self._read(index + 1, rest)
        return self._read(0, _UNKNOWN)

    def _rest(self, index: int, after: Cursor) -> Recorded | None:
        """What a coalesced token holds behind one of its pieces."""
        whole, pieces = self.records[index], self._runs.get(index, ())
        missing = whole.id.seq - after.seq
        if whole.id.attempt != after.attempt or missing >= len(pieces):
            return None
        assert isinstance(whole.event, Token)  # noqa: S101 - only tokens have pieces
        return record(whole.id, Token("".join(pieces[-missing:]), whole.event.node))

    async def _read(
        self, position: int, first: Recorded | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        loop = asyncio.get_running_loop()
        if first is not None:
            yield (first,)
        while True:
            if batch := self._batch(position):
                position += len(batch)
                yield batch
                if isinstance(batch[-1].event, TERMINAL):
                    return
            elif self.broken is not None:
                raise self.broken
            else:
                reader = loop.create_future()
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
