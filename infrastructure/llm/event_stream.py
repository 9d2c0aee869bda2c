"""From the bytes of a body to the data of its server-sent events."""

import re

import msgspec

from sluice.domain.errors import UpstreamBadResponse

from .failures import failure_in

_BOM = b"\xef\xbb\xbf"
"""A body may begin with a byte-order mark."""
_CR = ord("\r")
"""As a number it is found in a read in a sixth of the time."""
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")
_BEGINNINGS = (b":", *(field + b":" for field in _FIELDS))
_FAILED = re.compile(rb"(?:error|fail(?:ed|ure)|exception|abort(?:ed)?)$", re.IGNORECASE)
"""Names of events that tell a failure."""
_MAX_EVENT_BYTES = 16 * 2**20


def begins_events(head: bytes) -> bool | None:
    """Whether a body that begins so is an event stream; None: too little to say."""
    head = head.removeprefix(_BOM).lstrip()
    if head.startswith(_BEGINNINGS):
        return True
    if any(beginning.startswith(head) for beginning in (_BOM, *_BEGINNINGS)):
        return None
    return False


class EventSplitter:
    """Splits a body into the data of its server-sent events, wherever its reads end.

    What a read leaves incomplete is joined once, so that a long event costs linear time. A
    failure that is told beside the protocol (`event: error`, a field `error:`, bare JSON) comes
    as the data of an error chunk; other bare JSON is nothing, as the standard has it. In a
    protocol whose own events tell failures by their `names`, these are left as they are.
    """

    def __init__(self, *, names: bool = False) -> None:
        self._named = names
        self._partial: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._line_end = b""

    def feed(self, read: bytes) -> list[bytes]:
        """Raises UpstreamBadResponse when an event has grown beyond all bounds."""
        within_event = self._line_end or self._partial or self._after_cr
        if read.endswith(b"\n\n") and _CR not in read and not within_event:
            if read.startswith(b"data: ") and read.find(b"\n") == len(read) - 2:
                return [read[6:-2]]  # nearly every read is one event, and whole
            return self._data_of(read[:-2])
        if _CR in read or self._after_cr:
            read = self._with_plain_line_ends(read)
        # The empty line that ends an event may have begun with the last read.
        events, blank_line, rest = (self._line_end + read).rpartition(b"\n\n")
        data: list[bytes] = []
        if blank_line:
            if self._partial:
                events = b"".join((*self._partial, events))
                self._partial.clear()
                self._size = 0
            data = self._data_of(events)
        self._keep(rest)
        return data

    def end(self) -> list[bytes]:
        """What the end of the body left without its empty line: no event to the standard, but
        some servers end so.
        """
        rest = b"".join(self._partial)
        self._partial.clear()
        return self._data_of(rest)

    def _with_plain_line_ends(self, read: bytes) -> bytes:
        if self._after_cr:
            read = read.removeprefix(b"\n")
        self._after_cr = read.endswith(b"\r")
        return read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        partial = rest.removesuffix(b"\n")
        self._line_end = rest[len(partial) :]
        if partial:
            self._partial.append(partial)
            self._size += len(partial)
            if self._size > _MAX_EVENT_BYTES:
                raise UpstreamBadResponse("an event without an end")

    def _data_of(self, events: bytes) -> list[bytes]:
        found = []
        for event in events.split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                found.append(event[6:])
            else:
                found += _fields_of(event, named=self._named)
        return found


def _fields_of(event: bytes, *, named: bool) -> list[bytes]:
    fields: dict[bytes, list[bytes]] = {}
    bare = []
    for line in event.removeprefix(_BOM).split(b"\n"):
        name, _, value = line.partition(b":")
        if name in _FIELDS:
            fields.setdefault(name, []).append(value.removeprefix(b" "))
        elif name:
            bare.append(line)
    found = []
    if b"data" in fields:
        found.append(b"\n".join(fields[b"data"]))
    name = fields.get(b"event", [b""])[-1]
    if not named and _FAILED.search(name):
        found = [_error_chunk(b"".join(found), name)]
    if b"error" in fields:
        found.append(_error_chunk(b"\n".join(fields[b"error"])))
    # On one line or on several, and each line by itself.
    return found + [_error_chunk(text) for text in (b"\n".join(bare), *bare) if failure_in(text)]


def _error_chunk(told: bytes, name: bytes = b"") -> bytes:
    """The event's own name tells what its data may leave out."""
    try:
        error = msgspec.json.decode(told)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = told.decode(errors="replace")
    named = name.decode(errors="replace")
    if named and isinstance(error, dict):
        error = {"name": named, **error}
    return msgspec.json.encode({"error": error or named or "unnamed"})
