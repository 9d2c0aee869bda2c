"""The client for programs that wait."""

import time
from collections.abc import Generator, Mapping
from typing import Any, Self

import httpx2

from sluice.domain.events import Done, Event, Json
from sluice.interfaces.client.outcome import answer_of
from sluice.interfaces.client.reading import Reading, Received
from sluice.interfaces.client.requests import (
    Call,
    Job,
    cancelling,
    giving,
    looking,
    question,
)
from sluice.interfaces.client.retries import Backoff, Retries
from sluice.interfaces.client.transport import TIMEOUT, identified


class Client:
    """`token` is a bearer token. An `http` of your own is used as it is, and left open.

    All methods go on through cuts, 429 and 5xx, as `backoff` has it; they raise Refused for what
    will not pass, and Unreachable.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        http: httpx2.Client | None = None,
    ) -> None:
        self._url, self._headers = url.rstrip("/"), identified(token, headers)
        self._backoff = backoff or Backoff()
        self._own = http is None
        self._http = http or httpx2.Client(timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._own:
            self._http.close()

    def submit(self, message: str | None = None, **asked: Any) -> Job:
        """Asks, as `question` has it: the job is taken when this returns."""
        return Job.of(self._call(question(message, **asked)).json())

    def ask(self, message: str | None = None, **asked: Any) -> Generator[Received, None, None]:
        """Asks, and follows, in one request."""
        return self._read(Reading(self._backoff, asking=question(message, **asked)))

    def follow(self, job: Job | str, *, after: str = "") -> Generator[Received, None, None]:
        """Every event behind the id `after`, to the terminal one; each comes once.

        Raises AnswerBroken if the answer is not the one that its `done` is of.
        """
        return self._read(Reading.of(job, after, self._backoff))

    def answer(self, job: Job | str) -> Done:
        """Waits for the end. Raises JobFailed and JobCancelled."""
        end: Event | None = None
        for received in self.follow(job):
            end = received.event
        return answer_of(end)

    def job(self, job: Job | str) -> Mapping[str, Any]:
        """The job as it is now, as `GET /api/v1/jobs/{job_id}` tells it."""
        found: Mapping[str, Any] = self._call(looking(job)).json()
        return found

    def give_input(self, job: Job | str, input_id: str, value: Json) -> None:
        """Answers a `NeedsInput`. Raises Refused: 409, 410 and 422 as docs/events.md has them."""
        self._call(giving(job, input_id, value))

    def cancel(self, job: Job | str) -> None:
        """One that is over stays as it ended."""
        self._call(cancelling(job))

    def _call(self, call: Call) -> httpx2.Response:
        retries = Retries(self._backoff)
        while True:
            try:
                response = self._http.request(**self._options(call))
            except httpx2.TransportError as error:
                wait = retries.lost(error)
            else:
                if response.is_success:
                    return response
                wait = retries.refused(response)
            time.sleep(wait)

    def _read(self, reading: Reading) -> Generator[Received, None, None]:
        while not reading.over:
            time.sleep(reading.wait)
            try:
                with self._http.stream(**self._options(reading.call())) as response:
                    if not reading.opened(response):
                        response.read()
                        reading.refused(response)
                        continue
                    for sse in httpx2.EventSource(response, max_event_size=None):
                        if (received := reading.took(sse)) is not None:
                            yield received
                        if reading.over:
                            return
                reading.ended()
            except httpx2.TransportError as error:
                reading.lost(error)

    def _options(self, call: Call) -> dict[str, Any]:
        return call.options(self._url, self._headers)
