"""What `sluice serve` is counted by: whole answers, and tokens that each wake it up.

Two sides. `serve` is the service, in a process under valgrind, on real sockets and with its store
in memory; `ask` is everything else, in another process, so that it is not counted: the model that
answers, and the client that opens a chat, asks, and follows the stream to its end.
"""

import asyncio
import gc
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientSession, TCPConnector

from benchmarks.fake_model import Answer, Model
from benchmarks.servers import BOUNDS
from benchmarks.upstream import Connection

SERVICES = {
    "llm": ("true", "build"),
    "ChatOpenAI": ("true", "chatopenai"),
    "A1": ("false", "build"),
}
"""The flag, and which of `benchmarks.graph`."""
WARM, ANSWERS, TOKENS = 10, 20, 150
APART_S = 0.01
"""Between two tokens at least; then the next one waits for the service to sleep."""
IDLE_S = 2.0
PATIENCE = {f"SLUICE_{name}_TIMEOUT": "600" for name in ("CONNECT", "FIRST_TOKEN", "IDLE", "TOTAL")}
"""Valgrind is slow, and on a busy machine it is slower."""


def serve(name: str, say: Callable[[str], None]) -> None:
    """Until SIGTERM. At SIGUSR1 it forks a process that ends at once and says its id:

    valgrind then tells how many instructions there were so far. Beside it the ticks of uvicorn's
    own timer, of which an idle service makes ten a second. The collector begins to count anew: one
    collection, which falls among 20 answers or does not, is 0.06 M of each, and 12 k of a token.
    """
    import uvicorn

    from sluice.interfaces.cli import main

    ticks, on_tick = 0, uvicorn.Server.on_tick

    async def counted(server: uvicorn.Server, counter: int) -> bool:
        nonlocal ticks
        ticks = counter
        return await on_tick(server, counter)

    def mark(*_: object) -> None:
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        gc.freeze()
        say(f"mark\t{child}\t{ticks}")

    flag, graph = SERVICES[name]
    os.environ |= {"ENABLE_TOKEN_STREAMING": flag, "SLUICE_PIPELINE": f"benchmarks.graph:{graph}"}
    uvicorn.Server.on_tick = counted  # type: ignore[method-assign,assignment]
    signal.signal(signal.SIGUSR1, mark)
    main(["serve"])


def load() -> None:
    """Imports, once for all services, what takes a service seconds under valgrind."""
    import langchain_openai  # noqa: F401
    import openai  # noqa: F401

    import sluice.interfaces.cli
    import sluice.interfaces.processes.embedded  # noqa: F401


def settings(port: int, upstream: int) -> dict[str, str]:
    return BOUNDS | PATIENCE | {
        "SLUICE_PORT": str(port),
        "SLUICE_STORE": "memory://",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream}/v1",
        "OPENAI_API_KEY": "x",
        "OPENAI_MODEL": "m",
    }  # fmt: skip


class Mark(NamedTuple):
    """The id of a process that valgrind gives a count for, and the service's ticks until then."""

    process: str
    ticks: int


def costs(marks: Sequence[Mark], counts: Mapping[str, int]) -> tuple[float, float]:
    """Instructions of an answer with one token, and of a token more.

    The marks are before the answers, behind them, behind the tokens, and behind a rest that was as
    long: what the service does without being asked is taken off, by the tick, for on a busy machine
    there are fewer of them in a second.
    """
    spans = [
        (counts[end.process] - counts[begin.process], end.ticks - begin.ticks)
        for begin, end in pairwise(marks)
    ]
    (answers, answers_ticks), (tokens, tokens_ticks), (idle, idle_ticks) = spans
    tick = idle / idle_ticks
    answer = (answers - tick * answers_ticks) / ANSWERS
    return answer, (tokens - tick * tokens_ticks - answer) / (TOKENS - 1)


class Client:
    """Asks as a browser does: requests on a kept connection, each stream on one of its own."""

    def __init__(self, port: int, model: Model, pid: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._model, self._pid = model, pid

    async def __aenter__(self) -> "Client":
        self._asking = ClientSession(self._base)
        self._following = ClientSession(self._base, connector=TCPConnector(force_close=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._asking.close()
        await self._following.close()

    async def answer(self, tokens: int) -> None:
        """One, from the opening of its chat to its last frame."""
        chat = (await self._post("/api/v1/chat", None))["id"]
        asked = await self._post(f"/api/v1/chat/{chat}/messages", {"message": "Why?"})
        async with self._following.get(asked["stream_url"]) as stream:
            while not self._model.open:  # noqa: ASYNC110 - the model tells nobody
                await asyncio.sleep(0.001)
            (answer,) = self._model.open
            await self._speak(answer, tokens)
            answer.end()
            told = (await stream.content.read()).decode()
        events = told.count("event: token\n")
        if "event: done\n" not in told or events != (tokens if asked["path"] == "A2" else 0):
            raise AssertionError(f"{events} of {tokens} tokens by themselves: {told[-500:]}")

    async def ready(self) -> None:
        while True:
            try:
                async with self._asking.get("/readyz"):
                    return
            except OSError:
                await asyncio.sleep(0.1)

    async def _post(self, path: str, body: object) -> dict[str, str]:
        async with self._asking.post(path, json=body) as reply:
            found: dict[str, str] = json.loads(await reply.read())
            return found

    async def _speak(self, answer: Answer, tokens: int) -> None:
        for _ in range(tokens):
            answer.speak(1)
            await asyncio.sleep(APART_S)
            while not asleep(self._pid):  # noqa: ASYNC110 - told by /proc alone
                await asyncio.sleep(0.001)


def asleep(pid: int) -> bool:
    """Whether no thread of the process runs or is ready to."""
    states = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(state.rpartition(") ")[2][0] == "S" for state in states)


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Model, int]]:
    """A model that says nothing by itself, and its port."""
    model = Model(-1, 0, b"")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(model), "127.0.0.1", 0)
    async with server:
        yield model, server.sockets[0].getsockname()[1]


async def ask(client: Client, mark: Callable[[], Awaitable[Mark]]) -> list[Mark]:
    """Of a service that has just been started."""
    await client.ready()
    for _ in range(WARM):
        await client.answer(2)
    marks = [await mark()]
    for _ in range(ANSWERS):
        await client.answer(1)
    marks.append(await mark())
    began = time.monotonic()
    await client.answer(TOKENS)
    marks.append(await mark())
    await asyncio.sleep(max(IDLE_S, time.monotonic() - began))
    return [*marks, await mark()]
