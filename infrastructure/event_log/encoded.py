"""A job's log in one encoder's form: encoded once, shared by all of that encoder's readers."""

from collections.abc import Mapping, Sequence
from typing import Any

from sluice.application.coalescing import Lengths, coalesce, split_again
from sluice.application.encoding import Batch, Encoder
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
    """Keeps what was encoded last: readers that keep up are all at the same place.

    A state is a value that depends on the log's prefix alone, so each reader holds its own, and
    those at one place hold the same. `records` and `joined` are the buffer's own.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_joined",
        "_position",
        "_records",
        "_state",
        "_stretch",
        "encoder",
    )

    def __init__(
        self,
        encoder: Encoder,
        records: Sequence[Recorded],
        joined: Mapping[int, Lengths],
    ) -> None:
        self.encoder, self._records, self._joined = encoder, records, joined
        self._position = -1
        self._body, self._state = b"", None
        self._stretch: tuple[int, int, Any, Batch] | None = None

    def state_at(self, position: int) -> Any:
        """Before the record at that position: everything before it, folded."""
        initial = self.encoder.initial
        if initial is None or not position:
            return initial
        return encoded(self.encoder, initial, BEGINNING, self._records[:position])[0]

    def outside(
        self, position: int, head: Sequence[Recorded], first: Sequence[Recorded], skip: int
    ) -> tuple[Any, Batch]:
        """What one reader is told before the record at `position`, and the state there.

        `first` follows `head`, a part of the record before; without one it is in no log.
        """
        state = self.encoder.initial
        if not head:
            return state, encoded(self.encoder, state, BEGINNING, first)[1]
        if state is not None:
            before = self._before(position - 1)
            state = encoded(self.encoder, self.state_at(position - 1), before, head)[0]
        return encoded(self.encoder, state, head[-1].id, first, skip)

    def batch(self, start: int, end: int, state: Any, skip: int) -> tuple[Any, Batch]:
        """What a reader at `start`, in the state there, is told up to `end`."""
        records = self._records[start:end]
        if self._joined and not self.encoder.joins_tokens:
            records = self._unjoined(start, records)
        if skip:
            return encoded(self.encoder, state, self._before(start), records, skip)
        if len(records) == 1:
            state, body = self.one(start, state)
            return state, Batch(records, body, 1)
        if (last := self._stretch) is None or last[:2] != (start, end):
            last = start, end, *encoded(self.encoder, state, self._before(start), records)
            self._stretch = last
        return last[2:]

    def one(self, position: int, state: Any) -> tuple[Any, bytes]:
        """The state behind one record, and its frames: this runs once per token."""
        if self._position != position:
            records = self._records
            before = records[position - 1].id if position else BEGINNING
            self._state, frames = self.encoder.encode(state, before, records[position])
            self._body = frames[0] if len(frames) == 1 else b"".join(frames)
            self._position = position
        return self._state, self._body

    def _unjoined(self, start: int, records: Sequence[Recorded]) -> Sequence[Recorded]:
        """As they were written, whatever the store has joined."""
        found = enumerate(records, start)
        return [
            each
            for index, one in found
            for each in split_again(one, self._joined.get(index, ())) or [one]
        ]

    def _before(self, position: int) -> Cursor:
        return self._records[position - 1].id if position else BEGINNING
