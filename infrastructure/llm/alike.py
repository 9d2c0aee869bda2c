"""Reads of a body that are the last one but for its text: nothing else of them is decoded.

Fast because nearly all of an answer is such reads, and to compare their beginning and their end
is a fraction of what decoding takes. JSON is read from its beginning: with the same bytes before a
string, and the same behind it, nothing but the string is another.
"""

from contextlib import suppress

from .chunks import NO_JSON, chunk_of, said_in, string_of

_TRIES = 3
"""A server whose chunks are never alike, as one that pads them, is not tried any more."""


class AlikeReads:
    """Of one answer. Any read that is not alike is to be decoded, and then `forget` or `learn`."""

    __slots__ = ("_shape", "tries")

    def __init__(self) -> None:
        self._shape: tuple[bytes, bytes, int, int] | None = None
        """What a read begins and ends with, and from where to where its text stands, in quotes."""
        self.tries = _TRIES

    def text_in(self, read: bytes) -> str:
        """Nothing of a read that is not alike."""
        if (shape := self._shape) is not None:
            before, after, start, stop = shape
            if read.startswith(before) and read.endswith(after):
                try:
                    text = string_of(read[start:stop])
                except NO_JSON:
                    return ""
                self.tries = _TRIES
                return text
        return ""

    def forget(self) -> None:
        self._shape = None

    def learn(self, read: bytes, data: bytes, text: str) -> None:
        """The next read may be alike if this one is a whole event, which says `text` and nothing
        else. Where the text stands is proved by another one in its place.
        """
        if not self.tries or read != b"data: %b\n\n" % data:
            return
        self.tries -= 1
        said = b'"%b"' % text.encode()
        start = read.rfind(said)
        before, after = read[: start + 1], read[start + len(said) - 1 :]
        with suppress(*NO_JSON):
            other = chunk_of(b"%b?%b" % (before[6:], after[:-2])).choices
            if other and said_in(other[0]).content == "?":
                self._shape = before, after, start, 1 - len(after)
