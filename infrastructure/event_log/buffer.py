"""A job's log as this process holds it: what was written, and who waits for more.

Every store fills one of these and lets its readers read from it, so that a live reader costs a
write, whatever the store, and a wake-up only if it cannot be pushed to.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType

from sluice.application.ports import Push
from sluice.application.wire import BEGINNING, MAX_TOKEN, record
from sluice.domain.errors import Finished
from sluice.domain.events import TERMINAL, Cursor, Recorded, Reset, Token

_UNKNOWN = record(BEGINNING, Reset("cursor_unknown"))
_NOTHING: Mapping[int, Sequence[str]] = MappingProxyType({})
_id = attrgetter("id")


class _Reader:
    """Waits at `position` for `news`; until it is woken, `push` may take it further."""

    __slots__ = ("news", "position", "push")

    def __init__(self, position: int, push: Push | None) -> None:
        self.position, self.push = position, push
        self.news: asyncio.Future[None]

    def wake(self) -> None:
        if not self.news.done():
            self.news.set_result(None)


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
        self._waiting: list[_Reader] = []

    @property
    def ended(self) -> bool:
        return bool(self.records) and isinstance(self.records[-1].event, TERMINAL)

    @property
    def last(self) -> Cursor:
        return self.records[-1].id if self.records else BEGINNING

    def append(self, records: Sequence[Recorded]) -> None:
        self.records.extend(records)
        if self._waiting:
            if len(records) == 1 and type(records[0].event) is Token:
                self._push(records[0])
            else:
                self.wake()

    def _push(self, token: Recorded) -> None:
        """To whoever takes it where it stands; the others are woken."""
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            if reader.push is not None and not reader.news.done() and reader.push(token):
                reader.position += 1
                self._waiting.append(reader)
            else:
                reader.wake()

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            reader.wake()

    def breaks(self, error: Exception) -> None:
        """Ends every reader with `error` once it has read what is here."""
        self.broken = error
        self.wake()

    def follow(
        self, after: Cursor | None, push: Push | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        """Checks the cursor now (Finished), reads when iterated."""
        if after is None or after == BEGINNING:
            return self._read(0, push)
        index = bisect_left(self.records, after, key=_id)
        if index < len(self.records):
            found = self.records[index]
            if found.id == after:
                if isinstance(found.event, TERMINAL):
                    raise Finished
                return self._read(index + 1, push)
            if (rest := self._rest(index, after)) is not None:
                return self._read(index + 1, push, rest)
        return self._read(0, push, _UNKNOWN)

    def _rest(self, index: int, after: Cursor) -> Recorded | None:
        """What a coalesced token holds behind one of its pieces."""
        whole, pieces = self.records[index], self._runs.get(index, ())
        missing = whole.id.seq - after.seq
        if whole.id.attempt != after.attempt or missing >= len(pieces):
            return None
        assert isinstance(whole.event, Token)  # noqa: S101 - only tokens have pieces
        return record(whole.id, Token("".join(pieces[-missing:]), whole.event.node))

    async def _read(
        self, position: int, push: Push | None, first: Recorded | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        loop, reader = asyncio.get_running_loop(), _Reader(position, push)
        if first is not None:
            yield (first,)
        while True:
            if batch := self._batch(reader.position):
                reader.position += len(batch)
                yield batch
                if isinstance(batch[-1].event, TERMINAL):
                    return
            elif self.broken is not None:
                raise self.broken
            else:
                reader.news = loop.create_future()
                self._waiting.append(reader)
                try:
                    await reader.news
                except asyncio.CancelledError:
                    if reader in self._waiting:  # a log that says nothing more would keep it
                        self._waiting.remove(reader)
                    raise

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
