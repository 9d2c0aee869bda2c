"""What becomes of the model's call when whoever reads its answer leaves in the middle of it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
import httpx2
import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from docs.reports.lab import PIECES, Lab, State, a_lab, chain, joined, show, table
from sluice.infrastructure.settings import read_settings
from sluice.interfaces.processes.embedded import embedded

Reading = Callable[[], AsyncGenerator[bytes, None]]
Leave = Callable[[Reading], Awaitable[object]]

_LOOKS = 10
"""Tenths of a second in which a call must be closed to count as closed; it takes milliseconds."""


async def experiment() -> str:
    async with a_lab() as lab:
        rows = [[how, *await _left(lab, leave)] for how, leave in WAYS.items()]
        rows += [
            ["Sluice: the reader disconnects", *await _left_sluice(lab, "continue")],
            ["the same, with cancel:3", *await _left_sluice(lab, "cancel:3")],
            ["Sluice: DELETE of the job", *await _left_sluice(lab, "continue", delete=True)],
        ]
    return table(["after the first token", "the model's call", "and then"], *rows)


async def _left(lab: Lab, leave: Leave) -> tuple[str, str]:
    gate = lab.hold(after=1)
    cut = len(lab.upstream.disconnects)
    kept = await leave(lambda: _reading(lab))
    stopped = await _stops(lab)
    gate.release()
    await lab.upstream.until_idle()
    del kept
    if stopped:
        return "closed", ""
    whole = len(lab.upstream.disconnects) == cut
    return "open", "the model says the rest to nobody" if whole else ""


async def _stops(lab: Lab, looks: int = _LOOKS) -> bool:
    """Looks several times, so that a busy machine's pause costs one look only."""
    for _ in range(looks):
        with suppress(TimeoutError):
            await lab.upstream.until_idle(0.1)
            return True
    return False


async def _reading(lab: Lab) -> AsyncGenerator[bytes, None]:
    """What a graph says, as frames; every generator is closed as it should be."""

    async def answer(_: State) -> State:
        return {"answer": await joined(lab.wrapped())}

    graph = chain(("answer", answer)).compile()
    parts: Any = graph.astream({"message": "Why?"}, stream_mode=["messages"], version="v2")
    async with aclosing(parts):
        async for part in parts:
            yield b"data: %b\n\n" % part["data"][0].text.encode()


async def _breaks(reading: Reading) -> object:
    frames = reading()
    async for _ in frames:
        break
    return frames  # a variable of a function that goes on keeps them alive, as this does


async def _drops(reading: Reading) -> None:
    async for _ in reading():
        break


async def _closes(reading: Reading) -> None:
    async with aclosing(reading()) as frames:
        await anext(frames)


async def _is_cancelled(reading: Reading) -> None:
    read = asyncio.Event()
    task = asyncio.create_task(_read_on(reading, read))
    await read.wait()
    task.cancel()
    await asyncio.wait([task])


async def _leaves_its_scope(reading: Reading) -> None:
    read = asyncio.Event()
    async with anyio.create_task_group() as scope:
        scope.start_soon(_read_on, reading, read)
        await read.wait()
        scope.cancel_scope.cancel()


async def _read_on(reading: Reading, read: asyncio.Event) -> None:
    async for _ in reading():
        read.set()


def _disconnects(response: Callable[..., Response]) -> Leave:
    async def leave(reading: Reading) -> None:
        async def answer(_: Request) -> Response:
            return response(reading(), media_type="text/event-stream")

        app = Starlette(routes=[Route("/", answer)])
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        async with (
            _serving(uvicorn.Server(config)) as url,
            httpx2.AsyncClient() as client,
            client.stream("GET", url) as frames,
        ):
            await _first_token(frames)

    return leave


@asynccontextmanager
async def _serving(server: uvicorn.Server) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def _first_token(frames: httpx2.Response) -> None:
    seen = ""
    async for text in frames.aiter_text():
        seen += text
        if PIECES[0] in seen:
            return


async def _left_sluice(lab: Lab, on_disconnect: str, *, delete: bool = False) -> tuple[str, str]:
    settings = read_settings(
        store="memory://",
        pipeline="examples.minimal:build",
        enable_token_streaming="true",
        on_disconnect=on_disconnect,
        openai_api_key="none",
        openai_base_url=lab.upstream.base_url,
        openai_model="m",
    )
    gate = lab.hold(after=1)
    async with (
        embedded(settings, None) as service,
        _serving(service.server(cut=1, signalled=lambda: None)) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        job = (await client.post("/api/v1/chat", json={"message": "Why?"})).json()
        async with client.stream("GET", job["stream_url"]) as frames:
            await _first_token(frames)
            if delete:
                await client.delete(f"/api/v1/jobs/{job['job_id']}")
        stopped = await _stops(lab, _LOOKS if on_disconnect == "continue" else 80)
        gate.release()
        async with client.stream("GET", job["stream_url"]) as frames:
            await frames.aread()  # up to the terminal event
        ended = (await client.get(f"/api/v1/jobs/{job['job_id']}")).json()
    said = ended["answer"] or ended["partial"]
    return "closed" if stopped else "open", f"the job is {ended['status']}: {said!r}"


WAYS: dict[str, Leave] = {
    "break; something still refers to the generator": _breaks,
    "break; nothing does": _drops,
    "aclosing": _closes,
    "the reading task is cancelled, by asyncio": _is_cancelled,
    "the same, by AnyIO's cancel scope": _leaves_its_scope,
    "StreamingResponse: the reader disconnects": _disconnects(StreamingResponse),
    "EventSourceResponse: the reader disconnects": _disconnects(EventSourceResponse),
}

if __name__ == "__main__":
    show(experiment)
