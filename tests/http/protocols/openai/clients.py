"""OpenAI's own client for Python, at a house of the tests'."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from sluice.domain.events import Done, Token, Usage
from tests.http.house import House, serving
from tests.http.test_frame_writer import one_by_one

WORDS = [
    Token(word, "answer") for word in ("무색 ", "페트\u2028병", "은 ", "data: x\n\nevent: done\r\n")
]
ANSWER = "".join(token.content for token in WORDS)
DONE = Done("A2", ANSWER, finish_reason="stop", usage=Usage(1, 2, 3))
ASKED: dict[str, Any] = {"model": "sluice", "messages": [{"role": "user", "content": "Why?"}]}


@asynccontextmanager
async def client_of(url: str, **options: Any) -> AsyncIterator[AsyncOpenAI]:
    given: dict[str, Any] = {"api_key": "none", "max_retries": 0} | options
    # Without `verify=False` every client would load the system's certificates.
    http = DefaultAsyncHttpxClient(trust_env=False, verify=False, timeout=5)
    async with AsyncOpenAI(base_url=f"{url}/v1", http_client=http, **given) as client:
        yield client


@asynccontextmanager
async def asking(*plays: Any, **options: Any) -> AsyncIterator[tuple[House, AsyncOpenAI]]:
    """Without plays: the answer, token by token."""
    async with (
        serving(*(plays or [*one_by_one(WORDS), DONE]), **options) as house,
        client_of(house.url) as client,
    ):
        yield house, client
