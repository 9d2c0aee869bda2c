"""What our own client sends: by itself as the SDK would, and by the SDK what does not go well."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest
from httpx2._utils import URLPattern
from openai import AsyncOpenAI
from pytest_mock import MockerFixture

from sluice.infrastructure.llm import posts
from sluice.infrastructure.llm.body import aiohttp_response
from sluice.infrastructure.llm.deadline import Deadline
from sluice.infrastructure.llm.first_try import bare_first_try as sent_past
from sluice.infrastructure.llm.posts import Posts
from sluice.infrastructure.llm.transport import calling, http_client
from tests.openai_sdk.scripted import STOP, Answer, ScriptedServer, sse, texts

BODY = {"model": "m", "messages": [{"role": "user", "content": "Wärum?"}], "stream": True}
GOOD = Answer(sse(*texts("a"), STOP))
BUSY = Answer(b"{}", "application/json", "503 Busy", "Retry-After-Ms: 1\r\n")
COUNT = "x-stainless-retry-count"


@pytest.fixture
async def server(no_settings: None) -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        server.answers = deque([GOOD])
        yield server


@pytest.fixture
async def deadline() -> AsyncIterator[Deadline]:
    deadline = Deadline(5)
    token = calling.set(deadline)
    yield deadline
    calling.reset(token)
    deadline.close()


class Sdk(AsyncOpenAI):
    """Counts what it is asked to post, of which an instrumentation need not know."""

    posted = 0

    async def post(self, *given: Any, **more: Any) -> Any:
        self.posted += 1
        assert more["cast_to"] is object
        return await super().post(*given, **more)


@pytest.fixture
async def sdk(server: ScriptedServer, deadline: Deadline) -> AsyncIterator[Sdk]:
    http = http_client(server.base_url, 5)
    async with Sdk(base_url=server.base_url, api_key="x", http_client=http) as sdk:
        sdk.max_retries = 2
        yield sdk


@pytest.fixture
def ours(sdk: Sdk) -> Posts:
    return Posts(sdk, sdk._client)


async def body_of(ours: Posts, body: Any = BODY) -> bytes:
    response = await ours.post(body)
    return await response.aread()


def hooked(sdk: Sdk, _: object) -> None:
    async def hook(_: httpx2.Request) -> None:
        """Somebody looks at each request."""

    sdk._client.event_hooks["request"].append(hook)


def of_another_httpx2(sdk: Sdk, patch: pytest.MonkeyPatch) -> None:
    patch.delattr(httpx2.AsyncClient, "_transport_for_url")
    http: Any = sdk._client

    async def send(request: httpx2.Request, **_: Any) -> httpx2.Response:
        response: httpx2.Response = await http._transport.handle_async_request(request)
        return response

    http.send = send


def proxied(sdk: Sdk, _: object) -> None:
    http: Any = sdk._client
    http._mounts = {URLPattern("http://"): httpx2.AsyncHTTPTransport()}


@pytest.mark.parametrize(
    ("change", "sends"), [(None, 0), (hooked, 1), (of_another_httpx2, 1), (proxied, 1)]
)
async def test_httpx2s_client_is_left_out_where_it_adds_nothing(
    change: Any,
    sends: int,
    server: ScriptedServer,
    sdk: Sdk,
    ours: Posts,
    mocker: MockerFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if change is not None:
        change(sdk, monkeypatch)
    sent = mocker.spy(sdk._client, "send")
    assert await body_of(ours) == GOOD.body
    assert (sent.call_count, sdk.posted) == (sends, 0)
    await sdk.post("/chat/completions", cast_to=object, body=BODY, stream=True, stream_cls=None)
    ours_alone, theirs = server.heads
    assert ours_alone == theirs


async def test_what_it_sends_is_what_the_sdk_sends(
    server: ScriptedServer, sdk: Sdk, ours: Posts
) -> None:
    timeouts: list[Any] = []

    async def note(request: httpx2.Request) -> None:
        timeouts.append(request.extensions["timeout"])

    sdk._client.event_hooks["request"].append(note)
    response = await ours.post(BODY)
    assert not response.is_stream_consumed
    assert await response.aread() == GOOD.body
    assert sdk.posted == 0
    await sdk.post("/chat/completions", cast_to=object, body=BODY, stream=True, stream_cls=None)
    assert server.heads[0] == server.heads[1]
    assert timeouts[0] == timeouts[1]
    assert timeouts[0]["connect"] == 5
    assert server.asked[0] == server.asked[1] == BODY


async def test_the_first_try_counts(server: ScriptedServer, sdk: Sdk, ours: Posts) -> None:
    server.answers = deque([BUSY, BUSY, GOOD])
    assert await body_of(ours) == GOOD.body
    assert [head[COUNT] for head in server.heads] == ["0", "1", "2"]
    server.answers = deque([BUSY])
    with pytest.raises(openai.InternalServerError):
        await ours.post(BODY)
    assert [head[COUNT] for head in server.heads[3:]] == ["0", "1", "2"]


async def test_a_server_that_hangs_up_is_tried_again(
    server: ScriptedServer, sdk: Sdk, ours: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(*_: Any, **__: Any) -> None:
        """The SDK's wait."""

    monkeypatch.setattr(sdk, "_sleep_for_retry", sleep)
    asked = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as other:
        sdk.base_url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(openai.APIConnectionError):
            await ours.post(BODY)
    assert asked == 3


async def test_a_wait_that_is_hopeless_is_not_begun(
    server: ScriptedServer, ours: Posts, deadline: Deadline
) -> None:
    late = Answer(b"{}", "application/json", "429 Later", "Retry-After: 60\r\n")
    server.answers = deque([late])
    with pytest.raises(openai.RateLimitError):
        await ours.post(BODY)
    assert len(server.heads) == 1


async def test_a_body_that_only_the_sdk_can_write_is_the_sdks(
    server: ScriptedServer, sdk: Sdk, ours: Posts
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert await body_of(ours, {**BODY, "metadata": {"at": at}}) == GOOD.body
    assert server.asked[-1]["metadata"] == {"at": at.isoformat()}
    for wrong in (float("nan"), "\ud800"):
        with pytest.raises(ValueError, match=r"."):
            await ours.post({**BODY, "seed": wrong})
    assert sdk.posted == 3


async def test_an_answer_that_the_sdk_does_not_come_to_is_closed(
    server: ScriptedServer, sdk: Sdk, ours: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Any] = []

    async def told(*given: Any) -> Any:
        outcomes.append(await sent_past(*given))
        return outcomes[-1]

    async def fail(*_: Any) -> Any:
        raise ValueError

    monkeypatch.setattr(posts, "bare_first_try", told)
    monkeypatch.setattr(sdk, "_prepare_options", fail)
    server.answers = deque([BUSY])
    with pytest.raises(ValueError, match=r"^$"):
        await ours.post(BODY)
    [response] = outcomes
    assert (response.status_code, response.is_closed) == (503, True)


async def test_a_cookie_is_kept(server: ScriptedServer, ours: Posts) -> None:
    server.answers = deque([Answer(GOOD.body, more="Set-Cookie: c=1\r\n")])
    for _ in range(2):
        await body_of(ours)
    assert [head.get("cookie") for head in server.heads] == [None, "c=1"]


async def test_an_answer_holds_no_request_while_its_model_thinks(ours: Posts) -> None:
    answer = await ours.post(BODY)
    below = aiohttp_response(answer)
    held: list[object] = [answer._request, below and below.request_info]
    assert held == [None, None]
    assert await answer.aread() == GOOD.body
