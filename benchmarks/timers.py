"""When answers speak: each by timers of microseconds of its own, or all on one tick."""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from benchmarks.stamp import now_us

SLOT_S = 0.001
_ABSOLUTE = 1
_SECOND_US = 1_000_000


class _Setting(ctypes.Structure):
    """The kernel's `itimerspec`; all zero switches the timer off."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("due_s", ctypes.c_long),
        ("due_ns", ctypes.c_long),
    )


class Timers:
    """Any number of them on one of the kernel's, which Python 3.13 could set by itself.

    uvloop's round to a millisecond, which makes tokens share their ticks.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count()
        self._ringing = False
        asyncio.get_running_loop().add_reader(self._timer, self._ring)

    def at(self, due_us: int, call: Callable[[], None]) -> None:
        """At that moment of `stamp.now_us`, at once if it is over."""
        heappush(self._due, (due_us, next(self._number), call))
        if not self._ringing and self._due[0][0] == due_us:
            self._set()

    def _ring(self) -> None:
        self._ringing, now = True, now_us()
        while self._due and self._due[0][0] <= now:
            heappop(self._due)[2]()
        self._ringing = False
        self._set()

    def _set(self) -> None:
        due = max(1, self._due[0][0]) if self._due else 0
        setting = _Setting(0, 0, due // _SECOND_US, due % _SECOND_US * 1000)
        if self._libc.timerfd_settime(self._timer, _ABSOLUTE, ctypes.byref(setting), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")


class Speaker(Protocol):
    def speak(self, tokens: int, /) -> None: ...


class Wheel:
    """Gives every answer one slot of the pace's interval; a late tick catches up, none drifts."""

    def __init__(self, pace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots: list[set[Speaker]] = [set() for _ in range(max(1, round(pace / SLOT_S)))]
        self._home: dict[Speaker, int] = {}
        self._turn = 0
        self._position = 0
        self._due = 0.0
        self._ticking = False

    def join(self, answer: Speaker) -> None:
        if not self._ticking:
            self._ticking = True
            self._due = self._loop.time() + SLOT_S
            self._loop.call_at(self._due, self._tick)
        self._turn = (self._turn + 1) % len(self._slots)
        self._slots[self._turn].add(answer)
        self._home[answer] = self._turn

    def leave(self, answer: Speaker) -> None:
        slot = self._home.pop(answer, None)
        if slot is not None:
            self._slots[slot].discard(answer)

    def _tick(self) -> None:
        # uvloop's timers round to a millisecond: waiting for less than half of one would spin.
        now = self._loop.time() + SLOT_S / 2
        while self._due <= now:
            self._position = (self._position + 1) % len(self._slots)
            for answer in tuple(self._slots[self._position]):
                answer.speak(1)
            self._due += SLOT_S
        self._ticking = bool(self._home)
        if self._ticking:
            self._loop.call_at(self._due, self._tick)
