"""Plays one reply to one client, as a stream or as a whole."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Never

from .completion import Completion
from .replies import Break, Delta, Gate, Reply, Usage, Wire
from .wire import Connection

_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_JSON = {"content-type": "application/json"}


_WARMTH = b': warm\n\ndata: {"choices":[]}\n\n'
_WARM_SECONDS = 0.1


def _event(payload: bytes) -> bytes:
    return payload if isinstance(payload, Wire) else b"data: %b\n\n" % payload


@dataclass(frozen=True, slots=True)
class Player:
    """`usage` is what is told if the reply counts; the pace is in seconds between pieces."""

    connection: Connection
    completion: Completion
    reply: Reply
    usage: Usage | None
    pace: float

    async def play(self, *, stream: bool) -> None:
        match self.reply.before_status:
            case Gate() as gate:
                await gate.hold()
            case Break.HANG:
                await self._hang()
            case Break.RESET:
                self.connection.reset()
                return
        await (self._stream() if stream else self._whole())

    async def _stream(self) -> None:
        headers = {**_STREAM, **self.reply.headers}
        headers = {name: value for name, value in headers.items() if value}
        await self.connection.begin(200, headers)
        self.connection.byte_by_byte = self.reply.byte_by_byte
        if self.reply.role:
            await self._say(self.completion.chunk({"role": "assistant", "content": ""}))
        for piece in self.reply.steps():
            match piece:
                case Gate():
                    await piece.hold()
                case Break():
                    await self._stop(piece, _event(self._chunk("never whole")))
                    return
                case float():
                    await asyncio.sleep(piece)
                case _:
                    await asyncio.sleep(self.pace)
                    await self._say(piece if isinstance(piece, bytes) else self._chunk(piece))
        for last in self._closing():
            await self._say(last)
        await self.connection.end(_event(b"[DONE]") if self.reply.done else b"")

    async def _whole(self) -> None:
        deltas: list[Delta] = []
        raw: bytes | None = None
        stop: Break | None = None
        for piece in self.reply.steps():
            match piece:
                case Gate():
                    await piece.hold()
                case Break():
                    stop = stop or piece
                case float() | Wire():
                    pass  # of streams only
                case bytes():
                    raw = raw or piece
                case _:
                    deltas.append(_delta(piece))
        await asyncio.sleep(self.pace)
        whole = self.completion.whole(deltas, self.reply.finish_reason, self.usage)
        await self._send_whole(raw or whole, stop)

    async def _send_whole(self, body: bytes, stop: Break | None) -> None:
        half = body[: len(body) // 2]
        if stop is None or stop is Break.END:
            await self.connection.answer(200, _JSON, half if stop else body)
        else:
            await self.connection.begin(200, {**_JSON, "content-length": str(len(body))})
            await self.connection.send(half)
            await self._stop(stop, body[len(half) :])

    async def _stop(self, how: Break, rest: bytes) -> None:
        """`rest` is what would have come next."""
        match how:
            case Break.HANG:
                await self._hang()
            case Break.WARM:
                while True:
                    await self.connection.send(_WARMTH)
                    await asyncio.sleep(_WARM_SECONDS)
            case Break.RESET:
                self.connection.reset()
            case Break.CUT:
                await self.connection.cut(rest)
            case Break.END:
                await self.connection.end()

    async def _hang(self) -> Never:
        """Until the client leaves or the server closes, which cancels this."""
        while True:
            await asyncio.Event().wait()

    async def _say(self, payload: bytes) -> None:
        await self.connection.send(_event(payload))

    def _chunk(self, piece: str | Delta) -> bytes:
        return self.completion.chunk(_delta(piece))

    def _closing(self) -> Iterator[bytes]:
        if self.reply.finish_reason is not None:
            yield self.completion.chunk({}, self.reply.finish_reason)
        if self.completion.usage_asked and self.usage is not None:
            yield self.completion.usage_chunk(self.usage)


def _delta(piece: str | Delta) -> Delta:
    return {"content": piece} if isinstance(piece, str) else piece
