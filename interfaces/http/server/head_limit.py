"""How much a peer may send before the head of its request is complete."""

MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 100


class HeadTooLarge(Exception):
    """Raised within the parser's callbacks, upon which it gives up."""


class HeadLimit:
    """Counts one block of fields as it arrives: a head with its request line, or trailers.

    The parser tells of a field once it is complete, and keeps what has come of it until then. So
    what is read without a callback is counted as well.
    """

    __slots__ = ("_bytes", "_fields", "_untold")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Another block begins, or a body."""
        self._bytes = self._fields = self._untold = 0

    def read(self, size: int) -> None:
        """So many bytes are about to be parsed."""
        self._untold += size

    @property
    def exceeded(self) -> bool:
        return self._bytes + self._untold > MAX_HEAD_BYTES or self._fields > MAX_FIELDS

    def add(self, size: int) -> None:
        """Bytes of the request line, or of the end of a head. Raises HeadTooLarge."""
        self._untold = 0
        self._bytes += size
        if self.exceeded:
            raise HeadTooLarge

    def add_field(self, name: bytes, value: bytes) -> None:
        """As `add`, once for each field of each request. Raises HeadTooLarge."""
        self._fields += 1
        self._untold = 0
        self._bytes += len(name) + len(value) + 4  # b": \r\n"
        if self._bytes > MAX_HEAD_BYTES or self._fields > MAX_FIELDS:
            raise HeadTooLarge
