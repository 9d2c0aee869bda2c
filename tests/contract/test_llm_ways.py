"""What stands between a call and its upstream, while the answer is told where it arrives."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from pytest_mock import MockerFixture

from sluice.infrastructure.llm import transport
from sluice.infrastructure.llm.body import PushedBody
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream

from .llm_clients import certificate, upstream_of_bytes

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNK = 'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}\n\n'
ANSWER = (HEAD, (CHUNK % ("가", "null")).encode(), 0.05, (CHUNK % ("나", '"stop"')).encode())


@asynccontextmanager
async def client(base_url: str) -> AsyncIterator[OpenAILLMClient]:
    completions = ChatCompletions(Upstream(base_url, "key", "m", retries=0, piece_interval=9))
    try:
        yield OpenAILLMClient(completions)
    finally:
        await completions.aclose()


async def told(base_url: str) -> str:
    said: list[str] = []
    async with (
        asyncio.timeout(5),
        client(base_url) as llm,
        aclosing(llm.stream("?", emit=said.append)) as pieces,
    ):
        assert "".join([piece async for piece in pieces]) == "".join(said)
    return "".join(said)


@pytest.fixture
def pushed(mocker: MockerFixture) -> MagicMock:
    return mocker.spy(PushedBody, "arrived")


async def test_a_proxy_is_no_hindrance(monkeypatch: pytest.MonkeyPatch, pushed: MagicMock) -> None:
    async with upstream_of_bytes(*ANSWER) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        assert await told("http://upstream.example/v1") == "가나"
    assert pushed.call_count


async def test_nor_is_encryption(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pushed: MagicMock
) -> None:
    both = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    monkeypatch.setattr(transport, "_on_this_machine", lambda _: False)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(both)
    async with upstream_of_bytes(*ANSWER, over=context) as upstream:
        assert await told(upstream) == "가나"
    assert pushed.call_count
