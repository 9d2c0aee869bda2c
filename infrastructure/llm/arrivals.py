"""Reads from upstreams, joined while they are many: one wake-up for what several have sent.

Fast because a loop that sleeps until a token comes pays more for being woken than for the token.
Where reads come more than a thousand times a second, its thread lets a moment pass behind one, as
a network card does with interrupts, and finds several. That takes a sixth off a token, and brings
it at most a moment later.
"""

import asyncio
from time import perf_counter, sleep
from weakref import WeakKeyDictionary

_MOMENT_S = 0.002
_MANY_PER_S = 1000
"""Reads; below that a moment would seldom bring a second one."""
_COUNTED = 64
"""Reads that their rate is taken of."""
_NOTHING_RAN_S = 40e-6
"""So soon behind itself a callback runs again only where the loop has nothing else to do: what has
many steps, such as a job that begins, must not pay a moment for each.
"""


class Arrivals:
    """Those of one loop. Whoever reads takes one off `left`, and calls `look` when none is left:
    to be called for every read would cost more than all that is done here.
    """

    __slots__ = (
        *("__weakref__", "_behind", "_loop", "_many", "_seen", "_since", "_until", "_waits"),
        "left",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.left, self._since = _COUNTED, loop.time()
        self._behind = 0
        """So many follow the next look before their rate is taken."""
        self._many = self._waits = False
        self._until: float
        self._seen: float

    def look(self) -> None:
        self.left, self._behind = self._behind or _COUNTED, 0
        if self.left == _COUNTED:
            now = self._loop.time()
            self._many = (now - self._since) * _MANY_PER_S < _COUNTED
            self._since = now
        if self._many and not self._waits:
            self._waits = True
            self._until, self._seen = perf_counter() + _MOMENT_S, 0.0
            self._loop.call_soon(self._wait)

    def _wait(self) -> None:
        now = perf_counter()
        left = self._until - now
        if left > 0 and now - self._seen > _NOTHING_RAN_S:
            self._seen = now
            self._loop.call_soon(self._wait)
            return
        self._waits = False
        self._behind, self.left = self.left - 1, 1  # the next read begins another moment
        if left > 0:
            sleep(left)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Arrivals] = WeakKeyDictionary()


def arrivals() -> Arrivals:
    """Of the running loop."""
    loop = asyncio.get_running_loop()
    found = _by_loop.get(loop)
    if found is None:
        found = _by_loop[loop] = Arrivals(loop)
    return found
