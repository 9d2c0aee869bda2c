"""The two clients as one, so that a test asks both the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from typing import Any, Literal

import httpx2

from sluice.client import AsyncClient, Backoff, Client, Done, Job, Received

Kind = Literal["blocking", "asyncio"]
KINDS: tuple[Kind, ...] = ("blocking", "asyncio")
AT_ONCE = Backoff(first=0.001, longest=0.01, patience=20)


class Program:
    """Waits for its client as its kind does: the blocking one in a thread of its own."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def _run(self, name: str, *args: Any, **asked: Any) -> Any:
        method = getattr(self._client, name)
        if isinstance(self._client, Client):
            return await asyncio.to_thread(method, *args, **asked)
        return await method(*args, **asked)

    async def submit(self, message: str | None = "Why?", **asked: Any) -> Job:
        job: Job = await self._run("submit", message, **asked)
        return job

    async def answer(self, job: Job | str) -> Done:
        done: Done = await self._run("answer", job)
        return done

    async def job(self, job: Job | str) -> dict[str, Any]:
        found: dict[str, Any] = await self._run("job", job)
        return found

    async def give_input(self, job: Job | str, input_id: str, value: Any) -> None:
        await self._run("give_input", job, input_id, value)

    async def cancel(self, job: Job | str) -> None:
        await self._run("cancel", job)

    async def follow(self, job: Job | str, **given: Any) -> list[Received]:
        return await self._all("follow", job, **given)

    async def ask(self, message: str = "Why?", **asked: Any) -> list[Received]:
        return await self._all("ask", message, **asked)

    async def _all(self, name: str, *args: Any, **given: Any) -> list[Received]:
        events: Any = getattr(self._client, name)(*args, **given)
        if isinstance(self._client, Client):
            with closing(events):
                return await asyncio.to_thread(list, events)
        async with aclosing(events):
            return [received async for received in events]


@asynccontextmanager
async def program(kind: Kind, url: str, **given: Any) -> AsyncIterator[Program]:
    """Without `verify=False` every client would load the system's certificates."""
    options: Any = {"trust_env": False, "timeout": 5, "verify": False}
    given = {"backoff": AT_ONCE} | given
    if kind == "blocking":
        with httpx2.Client(**options) as http:
            yield Program(Client(url, http=http, **given))
    else:
        async with httpx2.AsyncClient(**options) as http_too:
            yield Program(AsyncClient(url, http=http_too, **given))
