"""The client for programs on asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
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


class AsyncClient:
    """As `Client`, one await at a time. Who leaves a stream early closes it: `aclosing(…)`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._url, self._headers = url.rstrip("/"), identified(token, headers)
        self._backoff = backoff or Backoff()
        self._own = http is None
        self._http = http or httpx2.AsyncClient(timeout=TIMEOUT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        if self._own:
            await self._http.aclose()

    async def submit(self, message: str | None = None, **asked: Any) -> Job:
        """Asks, as `question` has it: the job is taken when this returns."""
        return Job.of((await self._call(question(message, **asked))).json())

    def ask(self, message: str | None = None, **asked: Any) -> AsyncGenerator[Received, None]:
        """Asks, and follows, in one request."""
        return self._read(Reading(self._backoff, asking=question(message, **asked)))

    def follow(self, job: Job | str, *, after: str = "") -> AsyncGenerator[Received, None]:
        """Every event behind the id `after`, to the terminal one; each comes once.

        Raises AnswerBroken if the answer is not the one that its `done` is of.
        """
        return self._read(Reading.of(job, after, self._backoff))

    async def answer(self, job: Job | str) -> Done:
        """Waits for the end. Raises JobFailed and JobCancelled."""
        end: Event | None = None
        async with aclosing(self.follow(job)) as events:
            async for received in events:
                end = received.event
        return answer_of(end)

    async def job(self, job: Job | str) -> Mapping[str, Any]:
        """The job as it is now, as `GET /api/v1/jobs/{job_id}` tells it."""
        found: Mapping[str, Any] = (await self._call(looking(job))).json()
        return found

    async def give_input(self, job: Job | str, input_id: str, value: Json) -> None:
        """Answers a `NeedsInput`. Raises Refused: 409, 410 and 422 as docs/events.md has them."""
        await self._call(giving(job, input_id, value))

    async def cancel(self, job: Job | str) -> None:
        """One that is over stays as it ended."""
        await self._call(cancelling(job))

    async def _call(self, call: Call) -> httpx2.Response:
        retries = Retries(self._backoff)
        while True:
            try:
                response = await self._http.request(**self._options(call))
            except httpx2.TransportError as error:
                wait = retries.lost(error)
            else:
                if response.is_success:
                    return response
                wait = retries.refused(response)
            await asyncio.sleep(wait)

    async def _read(self, reading: Reading) -> AsyncGenerator[Received, None]:
        while not reading.over:
            await asyncio.sleep(reading.wait)
            try:
                async with self._http.stream(**self._options(reading.call())) as response:
                    if not reading.opened(response):
                        await response.aread()
                        reading.refused(response)
                        continue
                    frames: Any = aiter(httpx2.EventSource(response, max_event_size=None))
                    async with aclosing(frames):
                        async for sse in frames:
                            if (received := reading.took(sse)) is not None:
                                yield received
                            if reading.over:
                                return
                reading.ended()
            except httpx2.TransportError as error:
                reading.lost(error)

    def _options(self, call: Call) -> dict[str, Any]:
        return call.options(self._url, self._headers)
