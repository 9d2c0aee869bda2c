"""How long a read of a user's call may take, and what it raises that fails."""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, TypeVar

import httpx2
import openai

from sluice.domain.errors import UpstreamTimeout
from sluice.infrastructure.llm.deadline import Deadline
from sluice.infrastructure.llm.openai_errors import BROKEN_BODY, timed_out

from .answers import StreamedAnswer

T = TypeVar("T", bytes, bool)


@dataclass(slots=True, eq=False)
class Timeouts:
    """Seconds until something is said, and from then on between two things said.

    None: the user has set timeouts of their own, which the transport keeps.
    """

    first_token: float | None = None
    idle: float | None = None


class IdleCheck:
    """Raises the SDK's own timeout when reads go on in a thread and nothing is said."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts, self._since, self._said = timeouts, 0.0, 0

    def check(self, answer: StreamedAnswer, request: Any) -> None:
        """After each read; one that says something costs no look at the clock."""
        if answer.said > self._said or answer.over:
            self._said, self._since = answer.said, 0.0
            return
        limit = self._timeouts.idle if self._said else self._timeouts.first_token
        if limit is None:
            return
        self._since = self._since or monotonic()
        if monotonic() - self._since > limit:
            raise openai.APITimeoutError(request)


class TimedReads:
    """For a body that is read on an event loop: one deadline, until something is said, and from
    each thing said to the next.

    Made without a timer: a stream may be dropped before anybody reads it.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts, self._said = timeouts, 0
        self._deadline: Deadline | None = None

    async def next(
        self, read: Callable[[], Awaitable[T]], answer: StreamedAnswer, request: Any
    ) -> T | Literal[b""]:
        """Nothing at the end, also when a finished answer's connection breaks or stays open."""
        try:
            if self._timeouts.first_token is None:
                return await read()
            if self._deadline is None:
                self._deadline = Deadline(self._timeouts.first_token)
            with self._deadline:
                return await read()
        except UpstreamTimeout as late:
            if not answer.over:
                raise openai.APITimeoutError(request) from late
        except broken_body() as failure:
            if not answer.over:
                raise of_the_sdk(failure, request) from failure
        return b""

    def hear(self, answer: StreamedAnswer) -> None:
        """After each read."""
        if (deadline := self._deadline) is not None and answer.said > self._said:
            if not self._said:
                deadline.allow(self._timeouts.idle or 0)
            self._said = answer.said
            deadline.since, deadline.restarts = deadline.time(), True  # `renew`, for each token

    def may_pause(self, seconds: float) -> bool:
        """As StreamTimeouts has it."""
        idle = self._timeouts.idle
        return idle is None or 2 * seconds < idle

    def close(self) -> None:
        if self._deadline is not None:
            self._deadline.close()


def broken_body() -> tuple[type[Exception], ...]:
    """What reading a body raises, also with a client of the user's on the older httpx."""
    return *BROKEN_BODY, getattr(sys.modules.get("httpx"), "RequestError", httpx2.RequestError)


def of_the_sdk(failure: Exception, request: Any) -> openai.APIConnectionError:
    """What the SDK raises where its transport fails."""
    if timed_out(failure):
        return openai.APITimeoutError(request)
    return openai.APIConnectionError(request=request)
