"""A client without an HTTP library of its own mind: it shows what happened on the socket."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import h11

Ending = Literal["complete", "cut", "reset", "silence"]
_PATIENCE, _SILENCE = 5.0, 0.05
QUESTION: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
STREAM: dict[str, Any] = {**QUESTION, "stream": True}


@dataclass
class Seen:
    """Everything the server sent to one request, and how it ended."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    reads: list[bytes] = field(default_factory=list)
    ending: Ending = "complete"

    @property
    def lines(self) -> list[bytes]:
        """The payloads of the `data:` lines."""
        return [line.removeprefix(b"data: ") for line in self.body.split(b"\n\n") if line]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines if line != b"[DONE]"]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)

    @property
    def finish_reasons(self) -> list[str]:
        reasons = (c["finish_reason"] for chunk in self.chunks for c in chunk.get("choices", ()))
        return [reason for reason in reasons if reason is not None]


def request(body: object, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


async def connect(base_url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(base_url)
    return await asyncio.open_connection(address.hostname, address.port)


async def ask(
    base_url: str,
    body: object = STREAM,
    path: str = "/v1/chat/completions",
    silent_after: bytes | None = None,
) -> Seen:
    """`silent_after`: what the server says before it hangs, if it is to."""
    reader, writer = await connect(base_url)
    try:
        return await exchange(reader, writer, request(body, path), silent_after)
    finally:
        writer.close()


async def exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    raw: bytes,
    silent_after: bytes | None = None,
) -> Seen:
    """One request and its answer; the connection stays open."""
    writer.write(raw)
    seen, http = Seen(), h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
    http.send(h11.EndOfMessage())
    while True:
        match event := http.next_event():
            case h11.Response():
                names = ((name.decode(), value.decode()) for name, value in event.headers)
                seen.status, seen.headers = event.status_code, dict(names)
            case h11.Data():
                seen.body += event.data
            case h11.EndOfMessage():
                return seen
            case _:
                if ending := await _read_on(reader, http, seen, silent_after):
                    seen.ending = ending
                    return seen


async def _read_on(
    reader: asyncio.StreamReader, http: h11.Connection, seen: Seen, silent_after: bytes | None
) -> Ending | None:
    silent = silent_after is not None and silent_after in b"".join(seen.reads)
    try:
        async with asyncio.timeout(_SILENCE if silent else _PATIENCE):
            data = await reader.read(2**16)
    except TimeoutError:
        if not silent:
            raise
        return "silence"
    except ConnectionResetError:
        return "reset"
    if not data:
        return "cut"
    seen.reads.append(data)
    http.receive_data(data)
    return None
