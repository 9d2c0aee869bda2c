"""`python -m benchmarks.steps`: what each step of a token's way costs, one by one.

A step is a function registered with `@step(place, says)` that prepares everything outside the
measured time and returns the work: a callable that passes a number of tokens through the step.
Each takes its tokens one at a time, as a paced stream brings them.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.fake_model import AFTER, BEFORE, CHUNK
from benchmarks.stamp import token

if TYPE_CHECKING:
    from sluice.infrastructure.llm.decoding import Delta

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


@step("decode", "msgspec")
def _msgspec() -> Work:
    import msgspec

    data = chunk(1)[6:]
    return lambda tokens: [msgspec.json.decode(data) for _ in range(tokens)]


@step("decode", "Sluice: bytes to deltas")
def _deltas() -> Work:
    from sluice.infrastructure.llm.decoding import DeltaDecoder

    data = chunk(1)

    def work(tokens: int) -> None:
        decoder = DeltaDecoder()
        for _ in range(tokens):
            for _ in decoder.feed(data):
                pass

    return work


@step("chunk", "SDK: one chunk object")
def _construct() -> Work:
    import msgspec
    from openai._models import construct_type
    from openai.types.chat import ChatCompletionChunk

    value = msgspec.json.decode(chunk(1)[6:])
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


class _Completions:
    """Whose only call says its tokens, and wakes who waits for them as at 50 a second."""

    usage, finish_reason, piece_interval = None, "stop", 0.1

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def call(self, *given: Any, **options: Any) -> "_Completions":
        return self

    async def heard(
        self,
        hear: Callable[["Delta"], None],
        seconds: float,
        *,
        say: Callable[[str], None],
        by_user: bool = True,
    ) -> AsyncGenerator[None, None]:
        for number in range(1, self._tokens + 1):
            say("token ")
            if number % 5 == 0 or number == self._tokens:
                await asyncio.sleep(0)
                yield


def _graph_of(reader: str) -> Work:
    """A one-node graph whose model says its tokens from memory, read by one of A2's readers."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from benchmarks.graph import build
    from sluice.domain.chat import Job, Question
    from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
    from sluice.infrastructure.llm.openai_client import OpenAILLMClient
    from sluice.infrastructure.llm.upstream import ChatCompletions
    from sluice.infrastructure.pipeline.graph import WatchedGraph
    from sluice.infrastructure.pipeline.token_path import TokenPath

    class Memory(BaseChatModel):
        tokens: int

        @property
        def _llm_type(self) -> str:
            return "memory"

        def _generate(self, *given: Any, **options: Any) -> ChatResult:
            raise NotImplementedError

        async def _astream(
            self, messages: list[BaseMessage], *given: Any, **options: Any
        ) -> AsyncGenerator[ChatGenerationChunk, None]:
            for _ in range(self.tokens):
                await asyncio.sleep(0)
                yield ChatGenerationChunk(message=AIMessageChunk(content="token "))

    async def work(tokens: int) -> None:
        completions = cast("ChatCompletions", _Completions(tokens))
        direct = OpenAILLMClient(completions) if reader == "direct" else None
        llm = LangChainLLMAdapter(Memory(tokens=tokens), direct=direct)
        path = TokenPath(
            WatchedGraph(build(llm)), reader="messages" if reader == "messages" else "tap"
        )
        question = Question(Job("job", "chat", "ann", "A2", "Why?", "request"))
        await path.run(question, lambda _: None)

    return in_loop(work)


@step("graph", "LangChain model, LangGraph's messages")
def _messages() -> Work:
    return _graph_of("messages")


@step("graph", "LangChain model, Sluice's tap")
def _tapped() -> Work:
    return _graph_of("tap")


@step("graph", "Sluice: own client, past LangChain")
def _direct() -> Work:
    return _graph_of("direct")


def _published(*, pushed: bool) -> Work:
    from sluice.domain.chat import Job, new_id
    from sluice.domain.events import QUEUED, Done, Token
    from sluice.infrastructure.event_log.memory import MemoryEventLog
    from sluice.interfaces.protocols.native.encoder import NATIVE

    async def work(tokens: int) -> None:
        log = MemoryEventLog()
        job = Job(new_id(), "chat", "ann", "A2", "Why?", "request")
        await log.create(job, QUEUED)
        writer = await log.begin(job.id)

        async def read() -> None:
            async for _ in await log.follow_encoded(
                job.id, after=None, encoder=NATIVE, push=lambda _: pushed
            ):
                pass

        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        for _ in range(tokens):
            writer.publish(Token("token ", "answer"))
            await asyncio.sleep(0)
        await writer.end(Done("A2", ""))
        await reader

    return in_loop(work)


@step("log", "publish to one reader that is woken, memory store")
def _woken() -> Work:
    return _published(pushed=False)


@step("log", "Sluice: publish to one reader in line, memory store")
def _log() -> Work:
    return _published(pushed=True)


@step("write", "frames through the event stream response")
def _response() -> Work:
    from collections.abc import AsyncGenerator
    from typing import Any

    from sluice.application.encoding import Batch
    from sluice.domain.events import Cursor, Recorded, Token
    from sluice.interfaces.http.server.frame_writer import ON_LEFT, PUSH, RESET
    from sluice.interfaces.http.services import StreamStats
    from sluice.interfaces.http.sse import EventStream
    from sluice.interfaces.protocols.native.encoder import frame

    recorded = Recorded(Cursor(1, 2), Token("token ", "answer"))
    batch = Batch([recorded], frame(recorded), 1)

    async def batches(tokens: int) -> AsyncGenerator[Batch, None]:
        for _ in range(tokens):
            yield batch

    async def work(tokens: int) -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(_message: Any) -> None:
            await asyncio.sleep(0)

        stream = EventStream(batches(tokens), StreamStats(), ping=10, expires=None)
        extensions = dict.fromkeys((PUSH, RESET, ON_LEFT), lambda *_: None)
        await stream({"method": "GET", "extensions": extensions}, receive, send)

    return in_loop(work)


@step("write", "Sluice: frames past the response")
def _past_response() -> Work:
    from itertools import count
    from types import SimpleNamespace
    from typing import Any

    from sluice.domain.events import Cursor, Recorded, Token
    from sluice.interfaces.http.server.frame_writer import FrameWriter
    from sluice.interfaces.protocols.native.encoder import frame

    frames = frame(Recorded(Cursor(1, 2), Token("token ", "answer")))
    transport = SimpleNamespace(is_closing=lambda: False, write=lambda _: None)
    flow = SimpleNamespace(write_paused=False)
    scope = {"http_version": "1.1"}
    cycle: Any = SimpleNamespace(flow=flow, transport=transport, scope=scope)

    def work(tokens: int) -> None:
        push = FrameWriter(cycle, count(1).__next__)
        for _ in range(tokens):
            push(frames)

    return work


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
    from sluice.domain.events import Cursor, Recorded, Token
    from sluice.interfaces.protocols.native.encoder import frame

    return lambda tokens: [
        frame(Recorded(Cursor(1, number), Token("token", "answer"))) for number in range(tokens)
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
