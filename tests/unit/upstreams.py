"""A server that plays answers, byte by byte, and a client that asks it."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest

from sluice.domain import errors
from sluice.infrastructure.llm import upstream
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream

EVENTS = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
NAMELESS = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
MESSAGES = [{"role": "user", "content": "?"}]
NEVER = 100.0
Play = bytes | float


def says(text: str = "", finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


A, STOP, DONE = says("a"), says("", "stop"), b"data: [DONE]\n\n"
USED = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
GOOD = (EVENTS + A + STOP + DONE,)


class Server:
    """Plays an answer for each request, the last one again and again: bytes, and seconds."""

    def __init__(self) -> None:
        self.base_url = ""
        self.answers: list[tuple[Play, ...]] = [GOOD]
        self.heads: list[bytes] = []
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        self._serving: set[asyncio.Task[None]] = set()

    def plays(self, *answers: tuple[Play, ...]) -> None:
        self.answers = list(answers)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:  # it was given up before it was asked
            writer.close()
            return
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        self.asked.append(json.loads(await reader.readexactly(int(length[1]) if length else 0)))
        self.heads.append(head)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        left = asyncio.ensure_future(reader.read())
        for play in answer:
            if isinstance(play, bytes):
                writer.write(play)
            else:
                await asyncio.wait([left], timeout=play)
        self.left += left.done()
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def closed(self) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*self._serving)


AskingWith = Callable[..., "Asking"]


class Asking:
    """A client of the server, and one call of it at a time."""

    def __init__(self, server: Server, **settings: Any) -> None:
        given = {"retries": 0, **settings}
        self.completions = ChatCompletions(Upstream(server.base_url, "key", "m", **given))
        self.call: upstream.Call

    async def hears(self, **options: Any) -> list[Delta]:
        self.call = self.completions.call(MESSAGES, **options)
        async with asyncio.timeout(8), aclosing(self.call.deltas()) as deltas:
            return [delta async for delta in deltas]

    async def text(self, **options: Any) -> str:
        return "".join([delta.text for delta in await self.hears(**options)])


async def failure(asking: Asking) -> errors.ChatError:
    with pytest.raises(errors.ChatError) as raised:
        await asking.hears()
    return raised.value
