"""What the log asks of a protocol: a fold from recorded events to frames."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from sluice.domain.chat import Job
from sluice.domain.events import Cursor, Recorded


class Encoder(Protocol):
    """A protocol's form of one job's log: a pure fold from recorded events to frames.

    The same prefix of the log gives the same bytes on any gateway, so a state is a value that is
    never changed, and a token joined of several leaves the state that they would have left.
    Encoders that are equal share what was encoded: all that the frames depend on is compared.
    """

    @property
    def initial(self) -> Any:
        """The state before the first event. None: there is no state, ever."""
        ...

    @property
    def joins_tokens(self) -> bool:
        """Whether a reader that is behind may be given tokens joined, under the last one's id."""
        ...

    def encode(
        self, state: Any, before: Cursor, recorded: Recorded, /
    ) -> tuple[Any, Sequence[bytes]]:
        """The state behind the event, and its frames: none, one or more.

        `before` is the id of the log's previous event, BEGINNING at its beginning. A token may
        be joined: as many as `recorded.id.seq - before.seq`. `reset` (`cursor_unknown`) is told
        in the initial state, for one reader; the state that it leaves is not used.
        """
        ...


class Batch(NamedTuple):
    """What one reader is told at once: events, tokens joined, and their frames side by side.

    `body` is empty where an encoder has no frame for them. `waiting`: how many events of the log.
    """

    events: Sequence[Recorded]
    body: bytes
    waiting: int


Push = Callable[[bytes], bool]
"""Writes frames in line, from where they are published, or says False. Never raises."""

Handed = Callable[[], None]
"""Is told, once for all readers of a log, that a token was pushed to some of them."""

EncoderFor = Callable[[Job], Encoder]
"""A protocol's encoder for one job's readers; equal ones share what they encode."""
