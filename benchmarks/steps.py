"""`python -m benchmarks.steps`: what each step of a token's way costs, one by one.

A step is a function registered with `@step(place, says)` that prepares everything outside the
measured time and returns the work: a callable that passes a number of tokens through the step.
Each takes its tokens one at a time, as a paced stream brings them.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from statistics import median

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.fake_model import AFTER, BEFORE, CHUNK
from benchmarks.stamp import token

Work = Callable[[int], object]
STEPS: dict[str, tuple[str, Callable[[], Work]]] = {}
"""Place and preparation by name, in the order of a token's way."""


def step(place: str, says: str) -> Callable[[Callable[[], Work]], Callable[[], Work]]:
    def register(prepare: Callable[[], Work]) -> Callable[[], Work]:
        STEPS[says] = (place, prepare)
        return prepare

    return register


def in_loop(work: Callable[[int], Awaitable[object]]) -> Work:
    """Work that awaits, on one uvloop kept for all rounds."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    async def run(tokens: int) -> None:
        await work(tokens)

    return lambda tokens: runner.run(run(tokens))


def chunk(number: int) -> bytes:
    return BEFORE + token(b"", number, 123_456_789) + AFTER


@step("decode", "json.loads")
def _json() -> Work:
    import json

    data = chunk(1)[6:]
    return lambda tokens: [json.loads(data) for _ in range(tokens)]


@step("decode", "orjson")
def _orjson() -> Work:
    import orjson

    data = chunk(1)[6:]
    return lambda tokens: [orjson.loads(data) for _ in range(tokens)]


@step("decode", "Sluice: bytes to deltas")
def _deltas() -> Work:
    from infrastructure.llm.decoding import DeltaDecoder

    data = chunk(1)

    def work(tokens: int) -> None:
        decoder = DeltaDecoder()
        for _ in range(tokens):
            for _ in decoder.feed(data):
                pass

    return work


@step("chunk", "SDK: one chunk object")
def _construct() -> Work:
    import orjson
    from openai._models import construct_type
    from openai.types.chat import ChatCompletionChunk

    value = orjson.loads(chunk(1)[6:])
    return lambda tokens: [
        construct_type(value=value, type_=ChatCompletionChunk) for _ in range(tokens)
    ]


@step("chunk", "SDK: its stream of objects, without a network")
def _sdk() -> Work:
    import httpx2
    from openai import AsyncOpenAI

    async def body(tokens: int) -> AsyncIterator[bytes]:
        for number in range(tokens):
            yield chunk(number)
        yield b"data: " + (CHUNK % "[]").encode() + b"\n\ndata: [DONE]\n\n"

    async def work(tokens: int) -> None:
        def answer(_: httpx2.Request) -> httpx2.Response:
            head = {"Content-Type": "text/event-stream"}
            return httpx2.Response(200, headers=head, content=body(tokens))

        http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
        async with AsyncOpenAI(api_key="x", base_url="http://upstream", http_client=http) as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            async for _ in stream:
                pass

    return in_loop(work)


@step("frame", "sse-starlette built per event")
def _dict_frame() -> Work:
    import json

    from sse_starlette import ServerSentEvent

    def work(tokens: int) -> None:
        for number in range(tokens):
            data = json.dumps({"content": "token", "node": "answer"})
            ServerSentEvent(data, event="token", id=f"1-{number}").encode()

    return work


@step("frame", "Sluice: event to frame")
def _frame() -> Work:
    from application.wire import record
    from domain.events import Cursor, Token

    return lambda tokens: [
        record(Cursor(1, number), Token("token", "answer")) for number in range(tokens)
    ]


def cost(work: Work, tokens: int, rounds: int) -> tuple[float, float]:
    """Median and least microseconds of CPU per token."""
    work(tokens)
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work(tokens)
        took.append((time.process_time() - began) * 1e6 / tokens)
    return median(took), min(took)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("--only", choices=STEPS, action="append", help="may be repeated")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    table = Table("place", "step", "µs per token", "at least", title="CPU per token, one step")
    names = options.only or list(STEPS)
    for name in track(names, "measuring", console=Console(stderr=True), transient=True):
        place, prepare = STEPS[name]
        middle, least = cost(prepare(), options.tokens, options.rounds)
        table.add_row(place, name, f"{middle:.2f}", f"{least:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
