"""A job's stream over any number of connections, without I/O: what to ask next, and what came."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple, Self

import httpx2

from sluice.application.codec import event_of
from sluice.domain.events import BEGINNING, TERMINAL, Done, Event, Reset, Token
from sluice.interfaces.client.errors import AnswerBroken, Unreachable
from sluice.interfaces.client.requests import STREAM, Call, Job, id_of, stream_path
from sluice.interfaces.client.retries import Backoff, Retries


class Received(NamedTuple):
    """An event as it came: `data` is the wire's, `event` what Sluice itself makes of it."""

    job_id: str
    id: str
    name: str
    data: Mapping[str, Any]
    event: Event


class Reading:
    """`over`: the terminal event has come. `wait`: the seconds until the next connection."""

    def __init__(self, backoff: Backoff, *, asking: Call | None = None) -> None:
        self._retries = Retries(backoff)
        self._asking = asking
        self._job_id = self._path = ""
        self._last, self._whole = "", True
        self._pieces: list[str] = []
        self._told: float | None = None
        self.over, self.wait = False, 0.0

    @classmethod
    def of(cls, job: Job | str, after: str, backoff: Backoff) -> Self:
        """Of a job that is there; what came until `after` is not checked."""
        reading = cls(backoff)
        reading._job_id, reading._path = id_of(job), stream_path(job)
        reading._last, reading._whole = after, after in ("", str(BEGINNING))
        return reading

    def call(self) -> Call:
        """The question, until a stream has come of it; the same key gives the same job."""
        accept = {"Accept": STREAM}
        if self._asking is not None and not self._path:
            return replace(self._asking, headers={**self._asking.headers, **accept})
        cursor = {"Last-Event-ID": self._last} if self._last else {}
        return Call("GET", self._path, accept | cursor)

    def opened(self, response: httpx2.Response) -> bool:
        """Whether its body is the stream."""
        self._told = None
        if response.status_code == httpx2.codes.NO_CONTENT:
            self.over = True
        if response.status_code != httpx2.codes.OK:
            return False
        if not self._path and (job_id := response.headers.get("x-sluice-job")):
            self._job_id, self._path = job_id, stream_path(job_id)
        return True

    def refused(self, response: httpx2.Response) -> None:
        """Its body has been read. Raises Refused for what will not pass."""
        if not self.over:
            self.wait = self._retries.refused(response)

    def lost(self, error: httpx2.TransportError) -> None:
        """Raises Unreachable to give up."""
        if not self.over:
            self.wait = self._retries.lost(error)

    def ended(self) -> None:
        """The body has ended. Before its terminal event that is a cut, or a service that leaves."""
        if not self.over:
            problem = Unreachable("the stream ends again and again before its last event")
            self.wait = self._retries.wait(problem, self._told)

    def took(self, sse: httpx2.ServerSentEvent) -> Received | None:
        """What came, if that is an event. Raises AnswerBroken."""
        if not sse.data:
            self._told = None if sse.retry is None else sse.retry / 1000
            return None
        self._retries.alive()
        self._told = None
        if sse.event == "keepalive":
            return None
        self._last = sse.id
        data: Any = sse.json()
        try:
            event = event_of(sse.event, data)
        except (ValueError, TypeError, LookupError):  # a newer service's
            return None
        self._fold(event, data)
        return Received(self._job_id, sse.id, sse.event, data, event)

    def _fold(self, event: Event, data: Mapping[str, Any]) -> None:
        match event:
            case Token(content):
                self._pieces.append(content)
            case Reset():
                self._pieces.clear()
                self._whole = True
            case Done():
                self._check(event, data)
        self.over = isinstance(event, TERMINAL)

    def _check(self, done: Done, data: Mapping[str, Any]) -> None:
        if self._whole and done.path == "A2" and "".join(self._pieces) != done.answer:
            raise AnswerBroken("the tokens are not the answer")
        if data["length"] != len(done.answer):
            raise AnswerBroken("the answer has another length")
        if data["sha256"] != sha256(done.answer.encode()).hexdigest():
            raise AnswerBroken("the answer has another SHA-256")
