"""A deque for what is nearly always empty."""

from typing import Any


class ShortDeque(list[Any]):
    """As much of `collections.deque` as its users need, which takes 750 bytes though it be empty.

    What is taken from its left end costs a move of all the rest.
    """

    __slots__ = ()

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)

    def popleft(self) -> Any:
        """Raises IndexError where nothing is left."""
        return self.pop(0)
