"""Where something is not as it is known, the SDK's own way is taken."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai
import pytest
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr
from pytest_mock import MockerFixture

from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.infrastructure.settings import read_settings
from sluice.offline_model import OfflineModel, Reply

from .conftest import PATIENT, Run
from .scripted import ScriptedServer
from .shapes import COMPLETE
from .test_ways import ASKED, PIECES, plain, stream

DOCUMENTED = ["text", "usage at the end", "one tool call", "refusal", "logprobs", "two choices"]


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_documented_shapes_are_not_built_by_the_sdk(
    name: str, server: ScriptedServer, run: Run, mocker: MockerFixture
) -> None:
    server.plays(COMPLETE[name])
    built = mocker.spy(AsyncOpenAI, "_process_response_data")
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
        async for _ in await client.chat.completions.create(**ASKED, stream=True):
            pass
    assert built.call_count == 0


async def test_a_server_that_is_odd_each_time_is_not_tried_any_more(
    server: ScriptedServer, run: Run, mocker: MockerFixture
) -> None:
    server.plays(COMPLETE["odd in each chunk"])
    built = mocker.spy(AsyncOpenAI, "_process_response_data")
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
        chunks = [c async for c in await client.chat.completions.create(**ASKED, stream=True)]
    assert built.call_count == len(chunks)


class Shouting(ChatOpenAI):
    """A model of the user's own, which gives other texts than the upstream."""

    async def _astream(self, *given: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*given, **options):
            chunk.message.content = str(chunk.message.content).upper()
            yield chunk


class Renaming(ChatOpenAI):
    def _convert_chunk_to_generation_chunk(self, chunk: Any, *given: Any, **options: Any) -> Any:
        for choice in chunk["choices"]:
            assert choice["delta"]["function_call"] is None  # as it is in the SDK's objects only
        return super()._convert_chunk_to_generation_chunk(chunk, *given, **options)


@pytest.mark.parametrize("kind", [Shouting, Renaming])
async def test_a_users_own_model_gets_each_chunk(
    kind: type[ChatOpenAI], model: OfflineModel, instrumented: OpenAIInstrumentor
) -> None:
    model.script(Reply(pieces=["a", "b"]))
    chat = kind(base_url=model.base_url, api_key=SecretStr("x"), model="m", streaming=True)
    with Run(takes=True).entered() as run:
        message = await chat.ainvoke("Why?")
    assert message.text == ("AB" if kind is Shouting else "ab")
    assert run.taken == []


async def test_an_http_client_of_the_users_is_left_alone(model: OfflineModel, run: Run) -> None:
    async with httpx2.AsyncClient() as own:
        transport = own._transport
        client = AsyncOpenAI(base_url=model.base_url, api_key="x", http_client=own)
        model.script(Reply(pieces=PIECES))
        await stream(client)
        assert own._transport is transport
    assert run.teller.said == PIECES


async def test_a_client_behind_a_proxy_is_left_alone(
    model: OfflineModel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with AsyncOpenAI(base_url=model.base_url, api_key="x") as client:
        transport = client._client._transport
        model.script(Reply(pieces=PIECES))
        await stream(client)
        assert client._client._transport is transport
    assert run.teller.said == PIECES


async def test_a_client_may_be_used_on_two_loops(server: ScriptedServer, run: Run) -> None:
    server.plays(COMPLETE["no [DONE]"])
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
        transport = client._client._transport
        await stream(client)
        assert client._client._transport is not transport
        await asyncio.to_thread(asyncio.run, stream(client))
        assert client._client._transport is transport
        await stream(client)
    assert run.text == "ababab"


async def test_two_services_in_one_process_hear_a_call_once(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    other = OpenAIInstrumentor(PATIENT)
    other.instrument()
    model.script(*[Reply(pieces=PIECES)] * 3)
    await stream(client)
    await plain(client)
    await other.uninstrument()
    await stream(client)
    assert run.teller.said == PIECES * 2
    assert len(run.teller.ends) == 3


async def test_an_sdk_that_is_not_known_is_told_of_and_left_alone(
    model: OfflineModel,
    client: AsyncOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = openai.AsyncOpenAI.__mro__[1]
    theirs: Any = vars(base)["request"]

    async def request(
        self: Any, cast_to: Any, options: Any, further: Any = None, **more: Any
    ) -> Any:
        return await theirs(self, cast_to, options, **more)

    monkeypatch.setattr(base, "request", request)
    instrumentor = OpenAIInstrumentor(PATIENT)
    instrumentor.instrument()
    with Run().entered() as run:
        model.script(Reply(pieces=PIECES))
        await stream(client)
    await instrumentor.uninstrument()
    assert run.teller.said == []
    assert [record.args for record in caplog.records if record.levelname == "WARNING"] == [
        ("AsyncOpenAI",)
    ]


@pytest.mark.parametrize(("setting", "changes"), [("none", False), ("openai", True)])
async def test_the_setting_switches_it(
    setting: str, changes: bool, no_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_INSTRUMENT", setting)
    before = openai.AsyncOpenAI.request
    instrumentor = Embedded(settings=read_settings(), offline_url=None).instrumentor()
    instrumentor.instrument()
    assert (openai.AsyncOpenAI.request is not before) == changes
    await instrumentor.uninstrument()
    assert openai.AsyncOpenAI.request is before


async def test_calls_side_by_side_are_told_each_by_its_own_teller(
    model: OfflineModel, client: AsyncOpenAI, instrumented: OpenAIInstrumentor
) -> None:
    async def node(text: str) -> str:
        with Run().entered() as run:
            asked: Any = {**ASKED, "messages": [{"role": "user", "content": text}]}
            async for _ in await client.chat.completions.create(**asked, stream=True):
                pass
        return run.text

    def asks(text: str) -> Callable[[Any], bool]:
        return lambda body: bool(body["messages"][0]["content"] == text)

    for text in "abc":
        model.script_when(asks(text), Reply(pieces=[text, text]))
    assert await asyncio.gather(*map(node, "abc")) == ["aa", "bb", "cc"]
