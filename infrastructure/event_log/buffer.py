"""A job's log as this process holds it: what was written, and who waits for more.

Every store fills one of these and lets its readers read from it, so that a live reader costs a
write, whatever the store, and a wake-up only if it cannot be pushed to.
"""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import ref

from sluice.application.coalescing import Lengths, coalesce, size_of, split_again
from sluice.application.encoding import Batch, Encoder, Handed, Push
from sluice.domain.errors import Finished
from sluice.domain.events import BEGINNING, TERMINAL, Cursor, Reasoning, Recorded, Reset, Token
from sluice.infrastructure.event_log.encoded import EncodedLog

_BATCH_BYTES = 32 * 1024
"""A reader that does not read holds its batch about five times: as events, body and on its way."""

_UNKNOWN = Recorded(BEGINNING, Reset("cursor_unknown"))
_NOTHING_JOINED: Mapping[int, Lengths] = MappingProxyType({})
_id = attrgetter("id")


class _Start(NamedTuple):
    """Where a reader begins: with the record at `position`, and before it with `first`.

    `first` is a `reset` that is in no log, or the rest of a joined token, whose `head` the reader
    has read elsewhere.
    """

    position: int
    first: Sequence[Recorded] = ()
    head: Sequence[Recorded] = ()


class _Reader:
    """Waits at `position` for `news`; until it is woken, `push` may take it further.

    Who reads events is not pushed to, and has no `form`; `state` is the encoder's, at the position.
    """

    __slots__ = ("form", "news", "position", "push", "state")

    def __init__(self, position: int) -> None:
        self.position = position
        self.push: Push | None = None
        self.form: EncodedLog
        self.state: Any
        self.news: asyncio.Future[None]

    def wake(self) -> None:
        if not self.news.done():
            self.news.set_result(None)


class Buffer:
    """Append-only; readers hold a position in it, not a queue.

    A store may hold old tokens joined: `joined` then has what such a token was joined of, by its
    index in `records`, and each piece's id is a cursor like any other.
    """

    __slots__ = ("_forms", "_handed", "_joined", "_waiting", "broken", "records")

    def __init__(
        self, records: Iterable[Recorded] = (), joined: Mapping[int, Lengths] = _NOTHING_JOINED
    ) -> None:
        self.records = list(records)
        self.broken: Exception | None = None
        self._joined = joined
        self._waiting: list[_Reader] = []
        self._forms: Sequence[ref[EncodedLog]] = ()
        self._handed: Handed | None = None

    @property
    def ended(self) -> bool:
        return bool(self.records) and isinstance(self.records[-1].event, TERMINAL)

    @property
    def last(self) -> Cursor:
        return self.records[-1].id if self.records else BEGINNING

    def append(self, records: Sequence[Recorded]) -> None:
        if len(records) == 1 and type(records[0].event) in (Token, Reasoning):
            self.append_piece(records[0])
            return
        self.records.extend(records)
        if self._waiting:
            self.wake()

    def append_piece(self, piece: Recorded) -> None:
        """One token, or thought, goes to whoever takes it where it stands; who waits for more is
        woken. This runs for every token.
        """
        self.records.append(piece)
        if not self._waiting:
            return
        taken = left = False
        for reader in self._waiting:
            if (push := reader.push) is not None and not reader.news.done():
                position = reader.position
                try:
                    state, body = reader.form.one(position, reader.state)
                except Exception:  # noqa: BLE001 - raised again where the reader reads
                    body = None
                if body is not None and (not body or push(body)):
                    taken = True
                    reader.position, reader.state = position + 1, state
                    continue
            reader.wake()
            left = True
        if left:  # seldom, so that the list need not be made anew for each token
            self._waiting = [reader for reader in self._waiting if not reader.news.done()]
        if taken and self._handed is not None and type(piece.event) is Token:
            self._handed()

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for reader in waiting:
            reader.wake()

    def breaks(self, error: Exception) -> None:
        """Ends every reader with `error` once it has read what is here."""
        self.broken = error
        self.wake()

    def follow(self, after: Cursor | None) -> AsyncGenerator[Sequence[Recorded], None]:
        """Checks the cursor now (Finished), reads when iterated."""
        return self._events(self._start(after))

    def follow_encoded(
        self,
        after: Cursor | None,
        encoder: Encoder,
        skip: int = 0,
        push: Push | None = None,
        handed: Handed | None = None,
    ) -> AsyncGenerator[Batch, None]:
        """Checks the cursor now (Finished), reads when iterated."""
        self._handed = handed or self._handed
        return self._batches(self._start(after), self._form(encoder), skip, push)

    def _form(self, encoder: Encoder) -> EncodedLog:
        """The one that all readers of the encoder share; it is gone with the last of them."""
        forms = [form for held in self._forms if (form := held()) is not None]
        found = next((form for form in forms if form.encoder == encoder), None)
        if found is None:
            found = EncodedLog(encoder, self.records, self._joined)
            self._forms = [ref(form) for form in (*forms, found)]
        return found

    def _start(self, after: Cursor | None) -> _Start:
        if after is None or after == BEGINNING:
            return _Start(0)
        index = bisect_left(self.records, after, key=_id)
        if index < len(self.records):
            found = self.records[index]
            if found.id == after:
                if isinstance(found.event, TERMINAL):
                    raise Finished
                return _Start(index + 1)
            if (start := self._inside(index, after)) is not None:
                return start
        return _Start(0, [_UNKNOWN])

    def _inside(self, index: int, after: Cursor) -> _Start | None:
        """Behind one of the pieces of a joined token."""
        whole, lengths = self.records[index], self._joined.get(index, ())
        missing = whole.id.seq - after.seq
        if whole.id.attempt != after.attempt or missing >= len(lengths):
            return None
        unjoined = split_again(whole, lengths)
        return _Start(index + 1, unjoined[-missing:], unjoined[:-missing])

    async def _events(self, start: _Start) -> AsyncGenerator[Sequence[Recorded], None]:
        reader = _Reader(start.position)
        if start.first:
            yield coalesce(start.first)
        while True:
            end = await self._news(reader)
            batch = self.records[reader.position : end]
            reader.position = end
            yield batch
            if isinstance(batch[-1].event, TERMINAL):
                return

    async def _batches(
        self, start: _Start, form: EncodedLog, skip: int, push: Push | None
    ) -> AsyncGenerator[Batch, None]:
        reader = _Reader(start.position)
        reader.form = form
        if not start.first:
            reader.state = form.state_at(start.position)
        else:
            reader.state, batch = form.outside(start.position, start.head, start.first, skip)
            skip = 0
            yield batch
        while True:
            if not skip:
                reader.push = push
            end = await self._news(reader)
            reader.state, batch = form.batch(reader.position, end, reader.state, skip)
            reader.position, skip = end, 0
            yield batch
            if isinstance(batch.events[-1].event, TERMINAL):
                return

    async def _news(self, reader: _Reader) -> int:
        """Where the next batch ends; waits until there is one, or raises what broke the log."""
        while (end := self._end(reader.position)) == reader.position:
            if self.broken is not None:
                raise self.broken
            reader.news = asyncio.get_running_loop().create_future()
            self._waiting.append(reader)
            try:
                await reader.news
            except asyncio.CancelledError:
                if reader in self._waiting:  # a log that says nothing more would keep it
                    self._waiting.remove(reader)
                raise
        return end

    def _end(self, position: int) -> int:
        """Of what waits at `position`: at least one event and about _BATCH_BYTES at most."""
        records = self.records
        end = len(records)
        if end - position <= 1:
            return end
        size = 0
        for index in range(position, end):
            size += size_of(records[index].event)
            if size > _BATCH_BYTES and index > position:
                return index
        return end
