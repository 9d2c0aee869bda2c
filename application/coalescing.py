"""Fewer and larger tokens for a reader that is behind: the same text, every id still a cursor.

What holds for tokens here holds for pieces of reasoning, too.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from sluice.application.compact_json import compact
from sluice.domain.events import Cursor, Data, Event, Reasoning, Recorded, Token

MAX_TOKEN_BYTES = 64 * 1024
"""Of UTF-8 in one token's content, coalesced or not."""
SAFE_TOKEN_CHARACTERS = MAX_TOKEN_BYTES // 4
"""A token of so many is short enough, whatever they are."""
Text = Token | Reasoning
_OTHER_BYTES = 256
"""About what an event has beside its texts."""


def split(token: Text) -> list[Text]:
    """Into tokens that are short enough."""
    content, kind = token.content, type(token)
    starts = range(0, len(content), SAFE_TOKEN_CHARACTERS)
    return [kind(content[start : start + SAFE_TOKEN_CHARACTERS], token.node) for start in starts]


Lengths = Sequence[int]
"""Characters of each of the tokens that one was joined of: their texts stand in its own."""


def split_again(token: Recorded, lengths: Lengths) -> list[Recorded]:
    """The tokens that one was joined of: each by its own id, the last by the joined one's."""
    (attempt, seq), event = token
    if not isinstance(event, Token | Reasoning):
        return []
    before, kind = seq - len(lengths), type(event)
    ends = list(accumulate(lengths, initial=0))
    return [
        Recorded(Cursor(attempt, before + n), kind(event.content[start:end], event.node))
        for n, (start, end) in enumerate(pairwise(ends), 1)
    ]


def size_of(event: Event) -> int:
    """Bytes: of a token's content exactly, of any other event about its texts."""
    if isinstance(event, Token | Reasoning):
        content = event.content
        return len(content) if content.isascii() else len(content.encode())
    if isinstance(event, Data):
        return _OTHER_BYTES + len(compact(event.data))
    values = (getattr(event, name) for name in event.__match_args__)
    return _OTHER_BYTES + sum(len(value) for value in values if isinstance(value, str))


def coalesce(batch: Sequence[Recorded]) -> Sequence[Recorded]:
    """Joins consecutive tokens of one node and attempt, up to MAX_TOKEN_BYTES, under the last id.

    A token that stands alone stays the object that it is.
    """
    if len(batch) < 2:
        return batch
    joined: list[Recorded] = []
    pieces: list[str] = []
    size = 0
    kind: type[Text] = Token
    node, last = "", batch[0]
    for recorded in batch:
        event = recorded.event
        if not isinstance(event, Token | Reasoning):
            _flush(joined, pieces, last)
            joined.append(recorded)
            continue
        more = size_of(event)
        same = type(event) is kind and event.node == node
        fits = same and recorded.id.attempt == last.id.attempt
        if not fits or size + more > MAX_TOKEN_BYTES or not pieces:
            _flush(joined, pieces, last)
            kind, node, size = type(event), event.node, 0
        pieces.append(event.content)
        size += more
        last = recorded
    _flush(joined, pieces, last)
    return joined


def join(log: Sequence[Recorded]) -> tuple[Sequence[Recorded], Mapping[int, Lengths]]:
    """The log coalesced, and by index in it what each joined token was joined of."""
    joined = coalesce(log)
    lengths: dict[int, Lengths] = {}
    start = 0
    for index, recorded in enumerate(joined):
        end = start
        while log[end].id != recorded.id:
            end += 1
        if end > start:
            lengths[index] = array("I", map(_length, log[start : end + 1]))
        start = end + 1
    return joined, lengths


def _length(recorded: Recorded) -> int:
    event = recorded.event
    return len(event.content) if isinstance(event, Token | Reasoning) else 0


def _flush(joined: list[Recorded], pieces: list[str], last: Recorded) -> None:
    """The pieces that wait, as one token; `last` is the last of them as it was recorded."""
    if len(pieces) == 1:
        joined.append(last)
    elif pieces and isinstance(last.event, Token | Reasoning):
        joined.append(Recorded(last.id, replace(last.event, content="".join(pieces))))
    pieces.clear()
