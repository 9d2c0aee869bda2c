"""What stands between a call and its upstream, while the answer is told where it arrives."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_mock import MockerFixture

from sluice.infrastructure.llm import transport
from sluice.infrastructure.llm.body import PushedBody
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream

from .llm_clients import upstream_of_bytes

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


def certificate(folder: Path) -> Path:
    """Of 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path
