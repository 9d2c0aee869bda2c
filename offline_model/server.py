"""The offline model: an OpenAI-compatible server whose answers and failures can be scripted."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import h11

from . import completion
from .breaking import MOVED, broken
from .completion import Completion
from .faults import Fault
from .player import Player
from .replies import Piece, RawAnswer, Reply, Usage, tool_call_deltas
from .requests import BadRequestError, parsed
from .rules import BadSchemaError, answer, pieces, prompt_tokens
from .script import Predicate, Script
from .wire import Connection, Request

CHAT = "/v1/chat/completions"
_JSON = {"content-type": "application/json"}
_KEPT = 256


@dataclass(frozen=True, slots=True)
class Received:
    """A call as it came; `body` is empty when it was refused."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


class OfflineModel:
    """Counts calls (chat completions, refused ones too) from their last byte to their end.

    `pace` is in seconds between pieces. `fault` befalls every call that has no script; one that
    happens within a stream spares the calls that ask for none or for structured output.
    """

    def __init__(self, *, pace: float = 0.03, fault: Fault | None = None) -> None:
        self._pace = pace
        self._script = Script(fault)
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], Connection] = {}
        self._changed = asyncio.Event()
        self.base_url = ""
        self.opened = 0
        self.closed = 0
        self.retries = 0  # calls that the SDK says are repeats
        self.redirects_followed = 0
        self.requests: deque[Received] = deque(maxlen=_KEPT)
        self.disconnects: deque[float] = deque(maxlen=_KEPT)
        """When a client left in the middle of a call, on the monotonic clock."""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; returns the base URL."""
        self._server = await asyncio.start_server(self._accept, host, port, backlog=4096)
        bound = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://{f'[{host}]' if ':' in host else host}:{bound}/v1"
        return self.base_url

    async def aclose(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for task, connection in self._open.items():
            connection.abort()
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # what was over already is reported after `gather`, from 3.12 on
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def script(self, *replies: Reply) -> None:
        """Queue replies for the next calls, in order; when there is none left, the rules answer."""
        self._script.add(*replies)

    def script_when(self, matches: Predicate, reply: Reply) -> None:
        """Answer every call whose body matches with `reply`; the latest such order wins."""
        self._script.add_standing(matches, reply)

    @property
    def connections(self) -> int:
        """Sockets open now."""
        return len(self._open)

    async def until_called(self, times: int, within: float = 5) -> None:
        """Until that many calls have come in all. Raises TimeoutError."""
        await self._until(lambda: self.opened >= times, within)

    async def until_idle(self, within: float = 5) -> None:
        """Until no call is in flight. Raises TimeoutError."""
        await self._until(lambda: self.opened == self.closed, within)

    async def _until(self, condition: Callable[[], bool], within: float) -> None:
        async with asyncio.timeout(within):
            while not condition():
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._open[task] = connection
        task.add_done_callback(self._open.pop)

    async def _serve(self, connection: Connection) -> None:
        try:
            while (request := await connection.request()) is not None:
                await self._route(connection, request)
                if not connection.ready_for_next():
                    break
        except h11.RemoteProtocolError as problem:
            body = completion.error("This is not an HTTP request.")
            with suppress(ConnectionError):
                await connection.answer(problem.error_status_hint, _JSON, body)
        except ConnectionError:
            pass  # the client has gone
        finally:
            await connection.close()

    async def _route(self, connection: Connection, request: Request) -> None:
        match request.method, request.path:
            case "POST", path if path in (CHAT, MOVED):
                self.redirects_followed += path == MOVED
                await self._call(connection, request)
            case "GET", "/healthz":
                await connection.answer(200, _JSON, completion.encoded({"status": "ok"}))
            case "GET", "/v1/models":
                await connection.answer(200, _JSON, completion.encoded(completion.models()))
            case method, path:
                body = completion.error(
                    f"Unknown request URL: {method} {path}.", code="unknown_url"
                )
                await connection.answer(404, _JSON, body)

    async def _call(self, connection: Connection, request: Request) -> None:
        self.opened += 1
        self.retries += request.headers.get("x-stainless-retry-count", "0") != "0"
        self._tell()
        try:
            if not await connection.while_connected(self._answer(connection, request)):
                self.disconnects.append(time.monotonic())
                connection.abort()
        finally:
            self.closed += 1
            self._tell()

    async def _answer(self, connection: Connection, request: Request) -> None:
        try:
            body = parsed(request.body)
        except BadRequestError as problem:
            self.requests.append(Received({}, request.headers))
            refusal = completion.error(str(problem), param=problem.param)
            await connection.answer(400, _JSON, refusal)
            return
        self.requests.append(Received(body, request.headers))
        try:
            reply = self._reply_to(body)
        except BadSchemaError:
            refusal = completion.error("Invalid schema.", code="invalid_json_schema")
            await connection.answer(400, _JSON, refusal)
            return
        match reply:
            case RawAnswer(status, raw, content_type, headers):
                await connection.answer(status, {"content-type": content_type, **headers}, raw)
            case Reply():
                await self._player(connection, body, reply).play(stream=bool(body.get("stream")))

    def _reply_to(self, body: Mapping[str, Any]) -> Reply | RawAnswer:
        reply = self._script.next(body)
        if reply.pieces is None:
            reply = by_rules(reply, body)
        return reply if reply.fault is None else broken(reply, reply.fault)

    def _player(self, connection: Connection, body: Mapping[str, Any], reply: Reply) -> Player:
        head = Completion(
            id=f"chatcmpl-offline-{self.opened}",
            created=int(time.time()),
            model=body["model"],
            usage_asked=bool((body.get("stream_options") or {}).get("include_usage")),
        )
        spoken = sum(isinstance(piece, str | Mapping) for piece in reply.steps())
        counted = Usage(prompt_tokens(body), spoken)
        usage = counted if reply.usage == "counted" else reply.usage
        pace = self._pace if reply.pace is None else reply.pace
        return Player(connection, head, reply, usage, pace)


def by_rules(reply: Reply, body: Mapping[str, Any]) -> Reply:
    """The reply with the pieces that the rules give, no more than the client wants."""
    said = answer(body)
    finish = reply.finish_reason
    steps: list[Piece] = [*pieces(said.text)]
    if said.tool is not None:
        steps = [*tool_call_deltas(said.tool, said.arguments or {})]
        finish = finish and "tool_calls"
    steps = [*({"reasoning_content": piece} for piece in pieces(said.thought)), *steps]
    limit = body.get("max_completion_tokens", body.get("max_tokens", len(steps)))
    if len(steps) > limit and finish is not None:
        finish = "length"
    return replace(reply, pieces=steps[:limit], finish_reason=finish)
