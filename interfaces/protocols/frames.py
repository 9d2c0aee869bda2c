"""What every protocol's frames have in common, by the rules of Server-Sent Events."""

import re
from collections.abc import Sequence

from sluice.domain.events import Cursor

_LINE_BREAKS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\u0085": "\\u0085"}
"""They end a line for readers that split as Python's `str.splitlines` does, httpx's for one."""
_POSITION = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})(?:\.([1-9][0-9]{0,8}))?")
_NOWHERE = Cursor(0, 0)
"""In no log: its reader is told so, and given everything."""


def escaped(data: str) -> str:
    """JSON of the same value without a raw U+2028, U+2029 or U+0085.

    Between its tokens JSON has none of them, so each stands in a string.
    """
    if not data.isascii():
        for character, escape in _LINE_BREAKS.items():
            data = data.replace(character, escape)
    return data


def tokens_in(before: Cursor, token: Cursor) -> int:
    """How many tokens of the log one stands for, by its id and the previous event's."""
    return token.seq - (before.seq if before.attempt == token.attempt else 0)


def frame_ids(before: Cursor, event: Cursor, frames: int) -> Sequence[str]:
    """The ids of an event's frames: the last has the event's own, the k-th `<before>.k`.

    `before` is the log's previous event. An id says how far to read the log, and how many frames
    of what follows to drop, so it holds however the tokens behind it are joined.
    """
    return [*(f"{before}.{number}" for number in range(1, frames)), str(event)][:frames]


def frames_of(before: Cursor, event: Cursor, data: Sequence[str]) -> Sequence[bytes]:
    """An event's frames, each an id and its data, which are escaped already."""
    ids = frame_ids(before, event, len(data))
    return [f"id: {own}\ndata: {said}\n\n".encode() for own, said in zip(ids, data, strict=True)]


def position_of(frame_id: str | None) -> tuple[Cursor | None, int]:
    """Behind which event a reader goes on, and how many frames of the next one it has.

    None, empty or `-1` is before everything, as LangGraph's clients say it.
    """
    if frame_id is None or frame_id.strip() in {"", "-1"}:
        return None, 0
    match = _POSITION.fullmatch(frame_id.strip(" \t"))
    if match is None:
        return _NOWHERE, 0
    return Cursor(int(match[1]), int(match[2])), int(match[3] or 0)
