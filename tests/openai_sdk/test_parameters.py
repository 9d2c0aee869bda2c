"""A call's parameters go past the SDK's search where it would find nothing, and only there."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Required, TypedDict

import pytest
from openai import AsyncOpenAI, NotGiven, Omit
from openai._utils import PropertyInfo, _transform
from openai.resources.chat.completions import completions
from openai.resources.responses import responses
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import BaseModel
from typing_extensions import TypedDict as OlderTypedDict

from sluice.infrastructure.openai_sdk import parameters
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor

from .conftest import Run
from .scripted import STOP, ScriptedServer, sse, texts

GOOD = sse(*texts("a"), STOP)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SHAPES: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Why?"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, PICTURE, SOUND]}]},
    {
        "messages": [
            {"role": "system", "content": "s", "mine": {"kept": [1, 2.5, None, True]}},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "1", "content": "r"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "stop": ["x"],
        "temperature": 0,
        "user": NotGiven(),
        "seed": Omit(),
    },
]


class Turn(BaseModel):
    role: str = "user"
    content: str = "Why?"
    name: str | None = None


FOR_THE_SDK: list[dict[str, Any]] = [
    {"messages": ({"role": "user", "content": "Why?"},)},
    {"messages": iter([{"role": "user", "content": "Why?"}])},
    {"messages": [Turn()]},
    {"messages": [{"role": "user", "content": "Why?", "name": Omit()}]},
    {"messages": [{"role": "user", "content": "Why?"}], "metadata": {"at": datetime.now(UTC)}},
]


@pytest.fixture(autouse=True)
def unseen() -> None:
    """No type has been looked at before."""
    parameters._renames.cache_clear()


@pytest.fixture
async def client(server: ScriptedServer, no_settings: None) -> AsyncIterator[AsyncOpenAI]:
    server.plays(GOOD)
    async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the SDK has searched."""
    seen: list[Any] = []
    theirs = _transform.async_transform

    async def look(data: Any, expected: Any) -> Any:
        seen.append(data)
        return await theirs(data, expected)

    monkeypatch.setattr(_transform, "async_transform", look)
    return seen


def fresh(given: dict[str, Any]) -> dict[str, Any]:
    messages = given["messages"]
    is_list = isinstance(messages, list | tuple)
    return given if is_list else {**given, "messages": iter([{"role": "user", "content": "Why?"}])}


async def asked(client: AsyncOpenAI, server: ScriptedServer, given: dict[str, Any]) -> Any:
    await client.chat.completions.create(**{"model": "m", **fresh(given)}, stream=True)
    return server.asked[-1]


@pytest.mark.parametrize("given", SHAPES)
async def test_what_is_json_already_is_sent_as_the_sdk_sends_it(
    given: Any, client: AsyncOpenAI, server: ScriptedServer, instrumented: Any, searched: list[Any]
) -> None:
    alone = await asked(client, server, given)
    with Run().entered():
        await asked(client, server, SHAPES[0])  # behind the first call
        searched.clear()
        assert await asked(client, server, given) == alone
    assert searched == []


@pytest.mark.parametrize("given", FOR_THE_SDK)
async def test_what_is_more_than_json_is_left_to_the_sdk(
    given: Any, client: AsyncOpenAI, server: ScriptedServer, instrumented: Any, searched: list[Any]
) -> None:
    alone = await asked(client, server, given)
    with Run().entered():
        await asked(client, server, SHAPES[0])
        searched.clear()
        assert await asked(client, server, given) == alone
    assert len(searched) == 1


async def test_without_a_job_and_without_us_the_sdk_searches(
    client: AsyncOpenAI, server: ScriptedServer, no_settings: None, searched: list[Any]
) -> None:
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument()
    assert in_place() == {_transform.async_maybe_transform}
    with Run().entered():
        for _ in range(2):
            await asked(client, server, SHAPES[0])
    assert len(searched) == 1, "the first call's comes before its request"
    searched.clear()
    assert in_place() == {parameters._transformed}
    await asked(client, server, SHAPES[0])
    assert len(searched) == 1
    await instrumentor.uninstrument()
    assert in_place() == {_transform.async_maybe_transform}


def in_place() -> set[Any]:
    return {vars(module)["async_maybe_transform"] for module in (completions, responses)}


def test_the_sdks_own_names_are_the_apis() -> None:
    for kind in (
        CompletionCreateParamsStreaming,
        CompletionCreateParamsNonStreaming,
        ResponseCreateParamsStreaming,
        ResponseCreateParamsNonStreaming,
    ):
        assert not parameters._renames(kind)


class Inner(OlderTypedDict, total=False):
    given: Required[Annotated[str, PropertyInfo(alias="Given")]]


class Formatted(OlderTypedDict, total=False):
    at: Annotated[str | datetime, PropertyInfo(format="iso8601")]


class Deep(TypedDict):
    inner: dict[str, list[int | Inner]]


class Recursive(TypedDict, total=False):
    again: "Recursive"
    inner: Formatted


def test_a_name_that_is_another_is_seen_however_deep_it_is() -> None:
    assert parameters._renames(Inner)
    assert parameters._renames(Deep)
    assert not parameters._renames(Formatted)
    assert not parameters._renames(Recursive)


async def test_a_name_that_is_another_is_changed_by_the_sdk(run: Run, searched: list[Any]) -> None:
    assert await parameters._transformed({"given": "x"}, Inner) == {"Given": "x"}
    assert len(searched) == 1
