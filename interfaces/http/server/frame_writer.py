"""Writing an event to a waiting reader from where it is published, past the reader's task."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

RESET = "sluice.reset"
"""The ASGI extension that cuts the body: its reader must not take it for a whole one."""

PUSH = "sluice.push"
"""The ASGI extension for a Push: it writes to the body that is being sent."""

ON_LEFT = "sluice.on_left"
"""The ASGI extension for an OnLeft: else a task for each body would have to wait in `receive`."""

Left = Callable[[], None]
OnLeft = Callable[[Left | None], None]
"""Takes whom to tell when the peer is gone, at once if it is; None for nobody any more.

What the peer still sends of its request is then read by nobody.
"""

_NO_LINGER = struct.pack("ii", 1, 0)
"""For SO_LINGER: a close resets, which HTTP/1.0 readers notice too, who know no chunks."""

_MIN_INTERVAL_SECONDS = 0.0005
"""Less than uvloop's clock can tell: what comes faster is left to be coalesced."""


_MANY = 512
_HEADS = [b"%x\r\n" % size for size in range(_MANY)]
"""Of chunks as large as a token's, by size."""


class FrameWriter:
    """The Push of one response: past the task that waits to send the next part of its body.

    A wake-up, a dozen coroutines and three layers of `send` are most of what a reader costs.
    """

    __slots__ = ("_chunked", "_flow", "_now", "_transport", "_wrote", "left")

    def __init__(self, cycle: RequestResponseCycle, now: Callable[[], float]) -> None:
        """It does not keep the cycle, whose scope keeps it: such rings wait for the collector."""
        self._flow, self._transport, self._now = cycle.flow, cycle.transport, now
        self._chunked = cycle.scope["http_version"] != "1.0"
        self._wrote = 0.0
        self.left: Left | None = None

    def on_left(self, left: Left | None) -> None:
        self.left = left
        if left is None:
            return
        self._flow.resume_reading()  # else nobody would notice that the peer leaves
        if self._transport.is_closing():
            left()

    def __call__(self, frames: bytes) -> bool:
        now = self._now()
        if (
            now - self._wrote < _MIN_INTERVAL_SECONDS
            or self._flow.write_paused
            or self._transport.is_closing()
        ):
            return False
        self._wrote = now
        if self._chunked:
            size = len(frames)
            head = _HEADS[size] if size < _MANY else b"%x\r\n" % size
            frames = b"".join((head, frames, b"\r\n"))
        self._transport.write(frames)
        return True

    def reset(self) -> None:
        """Cuts the connection, with what the peer has not read yet, unless it is gone already."""
        if self._transport.is_closing():
            return
        peer: socket.socket | None = self._transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
