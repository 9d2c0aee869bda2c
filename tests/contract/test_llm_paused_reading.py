"""Calls that nobody hears, whose upstream is read some times a second and not for each token."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from sluice.domain import errors
from sluice.infrastructure.llm import transport
from sluice.infrastructure.llm.body import PushedBody
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.receiver import Receiver
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from tests.waiting import until

from .llm_clients import certificate

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERVAL, APART = 0.2, 0.005


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Answer:
    """One answer under way, each event of it in a chunk of its own."""

    def __init__(self, writer: asyncio.StreamWriter, left: "asyncio.Future[bytes]") -> None:
        self._writer, self.left = writer, left
        self.over = asyncio.Event()
        writer.write(HEAD)

    def say(self, text: str, finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
        self._chunk(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")

    async def say_slowly(self, *texts: str, apart: float = APART) -> None:
        for text in texts:
            self.say(text)
            await asyncio.sleep(apart)

    def end(self) -> None:
        self.say("", "stop")
        self._chunk(b"data: [DONE]\n\n")
        self._writer.write(b"0\r\n\r\n")
        self.over.set()

    def close(self) -> None:
        self._writer.close()

    def _chunk(self, event: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(event), event))


class Model:
    """Its answers are said by who takes them from `asked`; connections are kept."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Answer] = asyncio.Queue()
        self.connections = 0
        self._serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                begin = asyncio.ensure_future(reader.read(1))
                answer = Answer(writer, begin)
                await self.asked.put(answer)
                over = asyncio.ensure_future(answer.over.wait())
                await asyncio.wait([begin, over], return_when=asyncio.FIRST_COMPLETED)
                over.cancel()
                if not begin.cancel():
                    break
                with suppress(asyncio.CancelledError):
                    await begin
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def closed(self) -> None:
        async with asyncio.timeout(5):
            await asyncio.gather(*self._serving)


@pytest.fixture(params=["plain", "TLS"])
async def model(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Model]:
    context, scheme, model = None, "http", Model()
    if request.param == "TLS":
        both, scheme = certificate(tmp_path), "https"
        monkeypatch.setenv("SSL_CERT_FILE", str(both))
        monkeypatch.setattr(transport, "_on_this_machine", lambda _: False)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(both)
    async with await asyncio.start_server(model.accept, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        model.base_url = f"{scheme}://127.0.0.1:{port}/v1"  # type: ignore[attr-defined]
        yield model
    await model.closed()


LLMWith = Callable[..., OpenAILLMClient]


@pytest.fixture
async def llm_with(model: Any) -> AsyncIterator[LLMWith]:
    made: list[ChatCompletions] = []

    def make(**settings: Any) -> OpenAILLMClient:
        given = {"retries": 0, "piece_interval": INTERVAL, **settings}
        made.append(ChatCompletions(Upstream(model.base_url, "key", "m", **given)))
        return OpenAILLMClient(made[-1])

    yield make
    for one in made:
        await one.aclose()


class Bodies(list[PushedBody]):
    """Those that were made, and how often each was paused."""

    def __init__(self, mocker: MockerFixture) -> None:
        super().__init__()
        mocker.patch.object(PushedBody, "__init__", self._noting(PushedBody.__init__))
        self.given = mocker.spy(Receiver, "take")

    def _noting(self, init: Any) -> Any:
        def noted(body: PushedBody, content: Any) -> None:
            init(body, content)
            self.append(body)

        return noted

    @property
    def transport(self) -> Any:
        return self[-1]._content._protocol.transport

    @property
    def paused(self) -> bool:
        return bool(self) and self[-1]._resume is not None


@pytest.fixture
def bodies(mocker: MockerFixture) -> Bodies:
    return Bodies(mocker)


MANY = [f"{n} " for n in range(100)]


async def test_tokens_are_read_together_and_the_connection_is_used_again(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    llm = llm_with()
    for _ in range(2):
        asks = asyncio.ensure_future(llm.complete("?"))
        answer = await model.asked.get()
        await answer.say_slowly(*MANY)
        connection = bodies.transport
        answer.end()
        async with asyncio.timeout(5):
            assert await asks == "".join(MANY)
        assert connection.is_reading()
        assert not bodies.paused
    assert model.connections == 1
    assert bodies.given.call_count < 1.5 * len(MANY)


async def test_a_short_answer_is_taken_as_it_comes(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    asks = asyncio.ensure_future(llm_with(piece_interval=9).complete("?"))
    answer = await model.asked.get()
    await answer.say_slowly("a", "b")
    assert not bodies.paused
    answer.end()
    async with asyncio.timeout(5):
        assert await asks == "ab"


async def test_what_a_user_hears_is_never_kept(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    told: list[str] = []

    async def iterate() -> None:
        async with aclosing(llm_with().stream("?", emit=told.append)) as pieces:
            async for _ in pieces:
                pass

    iterates = asyncio.ensure_future(iterate())
    answer = await model.asked.get()
    for number in range(60):
        await answer.say_slowly(str(number), apart=0.01)
        assert not bodies.paused
    answer.end()
    await iterates
    assert told == [str(number) for number in range(60)]


async def test_without_an_interval_nothing_is_kept(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    asks = asyncio.ensure_future(llm_with(piece_interval=0).complete("?"))
    answer = await model.asked.get()
    for text in MANY[:60]:
        await answer.say_slowly(text)
        assert not bodies.paused
    answer.end()
    assert await asks == "".join(MANY[:60])


async def paused(model: Model, bodies: Bodies) -> Answer:
    """An answer of which "x" was said some times, and whose reading is paused."""
    answer = await model.asked.get()
    async with asyncio.timeout(20):
        while not bodies.paused:
            await answer.say_slowly("x")
    return answer


async def test_a_connection_that_breaks_in_a_pause_is_found(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    pieces: list[str] = []

    async def iterate() -> None:
        async with aclosing(llm_with().stream("?")) as given:
            async for piece in given:
                pieces.append(piece)

    iterates = asyncio.ensure_future(iterate())
    answer = await paused(model, bodies)
    answer.say("last")
    answer.close()
    async with asyncio.timeout(5):
        with pytest.raises(errors.UpstreamDisconnected):
            await iterates
    assert "".join(pieces).endswith("xlast")


async def test_who_is_cancelled_in_a_pause_closes_at_once(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    asks = asyncio.ensure_future(llm_with(piece_interval=1).complete("?"))
    answer = await paused(model, bodies)
    timer, connection = bodies[-1]._resume, bodies.transport
    assert timer is not None
    asks.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asks
    assert timer.cancelled()
    assert connection.is_closing()
    async with asyncio.timeout(5):
        assert await answer.left == b""


async def test_silence_is_a_timeout_also_behind_a_pause(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    asks = asyncio.ensure_future(llm_with(idle_timeout=0.5).complete("?"))
    await paused(model, bodies)
    async with asyncio.timeout(5):
        with pytest.raises(errors.UpstreamTimeout):
            await asks


async def test_a_deadline_shorter_than_the_interval_holds(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    llm = llm_with(piece_interval=1.5, idle_timeout=1)
    asks = asyncio.ensure_future(llm.complete("?"))
    answer = await model.asked.get()
    await answer.say_slowly(*MANY[:60], apart=0.06)
    answer.end()
    assert await asks == "".join(MANY[:60])


async def test_after_something_unsaid_nothing_is_kept(
    model: Model, llm_with: LLMWith, bodies: Bodies
) -> None:
    """Else a pause might begin shortly before the deadline, and keep what it waits for."""
    asks = asyncio.ensure_future(llm_with().complete("?"))
    answer = await paused(model, bodies)
    await until(lambda: not bodies.paused)
    answer._chunk(b": still there\n\n")
    await asyncio.sleep(INTERVAL / 2)
    assert not bodies.paused
    answer.end()
    assert (await asks).strip("x") == ""
