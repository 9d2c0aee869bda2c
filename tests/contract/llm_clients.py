"""What the suites of the model port run against: both clients over a socket, and the double."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from sluice.domain.ports import LLMClientPort, Prompt, ToolCall
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.offline_model import OfflineModel, Reply
from sluice.testing import ScriptedLLM

REAL = ("raw", "langchain")
"""The two clients of the service. `chat-openai` is somebody else's model behind the adapter."""


class Subject(Protocol):
    """A client, and a way to say what its model says next."""

    @property
    def llm(self) -> LLMClientPort: ...

    def says(self, *pieces: str) -> None: ...

    def calls(self, name: str, arguments: Mapping[str, Any]) -> None: ...

    def asked(self) -> list[Mapping[str, str]]:
        """The messages of the last call."""
        ...


class Real:
    def __init__(self, llm: LLMClientPort, model: OfflineModel) -> None:
        self.llm, self.model = llm, model

    def says(self, *pieces: str) -> None:
        self.model.script(Reply(pieces))

    def calls(self, name: str, arguments: Mapping[str, Any]) -> None:
        self.model.script(Reply.calling(name, arguments))

    def asked(self) -> list[Mapping[str, str]]:
        return [
            {"role": message["role"], "content": message["content"]}
            for message in self.model.requests[-1].body["messages"]
        ]


class Double:
    def __init__(self) -> None:
        self.llm = self._scripted = ScriptedLLM()

    def says(self, *pieces: str) -> None:
        self._scripted.replies.append(pieces)

    def calls(self, name: str, arguments: Mapping[str, Any]) -> None:
        self._scripted.replies.append(ToolCall(name, dict(arguments)))

    def asked(self) -> list[Mapping[str, str]]:
        return _messages(*self._scripted.prompts[-1])


def _messages(prompt: Prompt, system: str | None) -> list[Mapping[str, str]]:
    told = [] if system is None else [{"role": "system", "content": system}]
    said = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return [*told, *said]


@asynccontextmanager
async def client(kind: str, base_url: str, **settings: Any) -> AsyncIterator[LLMClientPort]:
    """Without retries, each piece by itself, and with deadlines that nothing reaches, unless told
    otherwise.
    """
    if kind == "chat-openai":
        async with httpx2.AsyncClient() as http:
            yield LangChainLLMAdapter(
                ChatOpenAI(
                    base_url=base_url,
                    api_key=SecretStr("key"),
                    model="sluice-offline",
                    http_async_client=http,
                )
            )
        return
    alone = {"retries": 0, "piece_interval": 0, **settings}
    upstream = Upstream(base_url, "key", "sluice-offline", **alone)
    completions = ChatCompletions(upstream)
    try:
        if kind == "raw":
            yield OpenAILLMClient(completions)
        else:
            yield LangChainLLMAdapter(LangChainOpenAIRunnable(completions=completions))
    finally:
        await completions.aclose()


@asynccontextmanager
async def upstream_of_bytes(
    *plays: bytes | float, over: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The base URL of a server that answers every call with these bytes, pausing for seconds in
    between, and then closes, or hangs if the last of them is a pause. `over`: it speaks TLS.
    """

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        left = asyncio.ensure_future(reader.read())
        for play in plays:
            if isinstance(play, bytes):
                writer.write(play)
            else:
                await asyncio.wait([left], timeout=play)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=over) as server:
        yield f"{'https' if over else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    await asyncio.gather(*serving)


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
