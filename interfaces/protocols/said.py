"""A text that grows by pieces, as a value."""


class Said:
    """Adding a piece costs no copy of the text: values that follow each other share their pieces.

    Only what was there is a value's own: whoever adds to an older one gets a copy.
    """

    __slots__ = ("_count", "_pieces")

    def __init__(self, *pieces: str) -> None:
        self._pieces, self._count = list(pieces), len(pieces)

    def add(self, piece: str) -> "Said":
        more = Said.__new__(Said)
        shared = 0 < self._count == len(self._pieces)
        more._pieces = self._pieces if shared else self._pieces[: self._count]
        more._pieces.append(piece)
        more._count = self._count + 1
        return more

    @property
    def text(self) -> str:
        return "".join(self._pieces[: self._count])

    def __bool__(self) -> bool:
        return self._count > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


NOTHING = Said()
