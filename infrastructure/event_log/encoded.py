"""A job's log in one encoder's form: encoded once, shared by all of that encoder's readers."""

from collections.abc import Sequence
from typing import Any

from sluice.application.coalescing import coalesce
from sluice.application.ports import Batch, Encoder
from sluice.domain.events import BEGINNING, Cursor, Recorded


def encoded(
    encoder: Encoder, state: Any, before: Cursor, records: Sequence[Recorded], skip: int = 0
) -> tuple[Any, Batch]:
    """The state behind the records, and what a reader is told of them.

    Of the first event's frames `skip` are left out, but never the last.
    """
    joined = coalesce(records) if encoder.joins_tokens else records
    frames = list[bytes]()
    for recorded in joined:
        state, new = encoder.encode(state, before, recorded)
        frames += new[min(skip, len(new) - 1) :] if skip else new
        before, skip = recorded.id, 0
    return state, Batch(joined, b"".join(frames), len(records))


class EncodedLog:
    """Keeps the stretch that was encoded last: readers that keep up are all at the same place.

    A state is a value that depends on the log's prefix alone, so each reader holds its own, and
    those at one place hold the same. `records` is the buffer's own list.
    """

    __slots__ = ("__weakref__", "_batch", "_body", "_records", "_state", "_stretch", "encoder")

    def __init__(self, encoder: Encoder, records: Sequence[Recorded]) -> None:
        self.encoder, self._records = encoder, records
        self._stretch = (0, 0)
        self._batch: Batch | None = None
        self._body = b""
        self._state: Any = None

    def state_at(self, position: int) -> Any:
        """Before the record at that position: everything before it, folded."""
        initial = self.encoder.initial
        if initial is None or not position:
            return initial
        return encoded(self.encoder, initial, BEGINNING, self._records[:position])[0]

    def outside(
        self, position: int, head: Recorded | None, first: Recorded, skip: int
    ) -> tuple[Any, Batch]:
        """What one reader is told before the record at `position`, and the state there.

        `first` follows `head`, a part of the record before; without one it is in no log.
        """
        state = self.encoder.initial
        if head is None:
            return state, encoded(self.encoder, state, BEGINNING, [first])[1]
        if state is not None:
            before = self._before(position - 1)
            state = encoded(self.encoder, self.state_at(position - 1), before, [head])[0]
        return encoded(self.encoder, state, head.id, [first], skip)

    def batch(self, start: int, end: int, state: Any, skip: int = 0) -> tuple[Any, Batch]:
        """What a reader at `start`, in the state there, is told up to `end`."""
        if skip:
            return encoded(self.encoder, state, self._before(start), self._records[start:end], skip)
        if self._stretch != (start, end):
            records = self._records[start:end]
            self._state, batch = encoded(self.encoder, state, self._before(start), records)
            self._stretch, self._batch, self._body = (start, end), batch, batch.body
        elif self._batch is None:
            self._batch = Batch(self._records[start:end], self._body, 1)
        return self._state, self._batch

    def _before(self, position: int) -> Cursor:
        return self._records[position - 1].id if position else BEGINNING

    def one(self, position: int, state: Any) -> tuple[Any, bytes]:
        """As `batch` of one record: this runs once per token."""
        if self._stretch[1] != position + 1 or self._stretch[0] != position:
            before = self._records[position - 1].id if position else BEGINNING
            self._state, frames = self.encoder.encode(state, before, self._records[position])
            self._body = frames[0] if len(frames) == 1 else b"".join(frames)
            self._stretch, self._batch = (position, position + 1), None
        return self._state, self._body
