"""A server that answers with given bytes, for shapes that no real model sends in a test."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self


def sse(*events: object, done: bool = True) -> bytes:
    """Each event as a `data:` line; what is bytes already is its data as it is."""
    datas = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return b"".join(b"data: " + data + b"\n\n" for data in [*datas, *[b"[DONE]"] * done])


def chunk(delta: Any = None, finish_reason: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat completion, as the API documents it."""
    choice = {
        "index": more.pop("index", 0),
        "delta": delta if delta is not None else {},
        "logprobs": more.pop("logprobs", None),
        "finish_reason": finish_reason,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [choice],
        **more,
    }


def texts(*pieces: str) -> Iterable[dict[str, Any]]:
    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STOP = chunk({}, "stop")


@dataclass
class Answer:
    body: bytes
    content_type: str = "text/event-stream"
    status: str = "200 OK"
    more: str = ""
    """Lines of its head."""


@dataclass
class ScriptedServer:
    """Plays its answers in order, the last one again and again."""

    answers: deque[Answer] = field(default_factory=deque)
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    """Of the requests, with their first lines as `""`."""
    base_url: str = ""

    def plays(self, *bodies: bytes) -> None:
        self.answers = deque(map(Answer, bodies))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().strip().split("\r\n")
        told = dict(line.lower().split(": ", 1) for line in lines)
        self.heads.append({"": first, **told})
        self.asked.append(json.loads(await reader.readexactly(int(told["content-length"]))))
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        reply = f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\n"
        reply += f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n{answer.more}\r\n"
        writer.write(reply.encode() + answer.body)
        await writer.drain()
        writer.close()
