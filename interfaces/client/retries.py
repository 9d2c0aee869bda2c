"""How long to wait before asking once more, and when to give up."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from sluice.interfaces.client.errors import ClientError, Refused, Unreachable

_OURS = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
"""A request that cannot be sent: no use in trying again."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """All in seconds. A delay doubles from `first` up to `longest`; up to half of it is luck.

    `patience`: how long nothing may come, with all that was tried meanwhile, until it is given up.
    """

    first: float = 0.5
    longest: float = 15
    patience: float = 120

    def delay(self, failures: int) -> float:
        ceiling = min(self.longest, self.first * 2.0 ** min(failures, 32))
        return ceiling * (0.5 + random.random() / 2)


class Retries:
    """Of one request, or of one stream with all its connections."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._alive = time.monotonic()
        self._reached = False

    def alive(self) -> None:
        """Something came: what fails from now on is counted anew."""
        self._failures, self._alive, self._reached = 0, time.monotonic(), True

    def lost(self, error: httpx2.TransportError) -> float:
        """The seconds to wait. Who was never there is not waited for."""
        problem = Unreachable(f"the service cannot be reached ({type(error).__name__})")
        never = isinstance(error, httpx2.ConnectError) and not self._reached
        if never or isinstance(error, _OURS):
            raise problem from error
        self._reached = True
        return self.wait(problem)

    def refused(self, response: httpx2.Response) -> float:
        """The seconds to wait; its body has been read. Raises Refused for what will not pass."""
        self._reached = True
        problem = refusal(response)
        if problem.status != httpx2.codes.TOO_MANY_REQUESTS and problem.status < 500:
            raise problem
        return self.wait(problem, problem.retry_after)

    def wait(self, problem: ClientError, told: float | None = None) -> float:
        """The seconds to wait, at least as long as was `told`. Raises `problem` to give up."""
        seconds = max(self._backoff.delay(self._failures), told or 0)
        self._failures += 1
        if time.monotonic() + seconds - self._alive > self._backoff.patience:
            raise problem
        return seconds


def refusal(response: httpx2.Response) -> Refused:
    try:
        body = response.json()
    except ValueError:
        body = None
    told: Mapping[str, str] = body if isinstance(body, dict) else {}
    after = response.headers.get("retry-after", "")
    return Refused(
        response.status_code,
        told.get("detail") or response.reason_phrase,
        code=told.get("code"),
        request_id=told.get("request_id") or response.headers.get("x-request-id"),
        retry_after=float(after) if after.isdecimal() else None,
    )
