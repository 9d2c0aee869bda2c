"""A first try that is sent past the SDK: what it sends, and what comes of it, is the SDK's."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from sluice.infrastructure.llm import first_try
from sluice.infrastructure.openai_sdk import calls, heads

from .conftest import Run, chat_model
from .scripted import STOP, Answer, ScriptedServer, sse, texts

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
GOOD = sse(*texts("a"), STOP)
TRANSPORTS = ("connection", "content-length")
"""What aiohttp may say otherwise than the transport that the SDK has of its own."""


@pytest.fixture
async def user(server: ScriptedServer, no_settings: None) -> AsyncIterator[AsyncOpenAI]:
    server.plays(GOOD)
    server.heads.clear()
    server.asked.clear()
    async with AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=2) as client:
        yield client


@pytest.fixture(autouse=True)
def past(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that were sent past the SDK."""
    bodies: list[bytes] = []

    async def told(http: Any, head: Any, body: bytes) -> Any:
        bodies.append(body)
        return await first_try.first_try(http, head, body)

    monkeypatch.setattr(calls, "first_try", told)
    return bodies


async def said(client: Any, **more: Any) -> str:
    chunks = await client.chat.completions.create(**{**ASKED, **more}, stream=True)
    assert chunks._options.url == "/chat/completions"
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


def sent(server: ScriptedServer) -> dict[str, str]:
    return {name: value for name, value in server.heads[-1].items() if name not in TRANSPORTS}


def renamed(client: Any) -> None:
    client.api_key = "another"


def moved(client: Any) -> None:
    client.base_url = str(client.base_url).replace("/v1", "/v2")


def of_an_organization(client: Any) -> None:
    client.organization, client.project = "o", "p"


def with_a_header(client: Any) -> None:
    client._custom_headers = {"X-Mine": "1"}


def with_a_query(client: Any) -> None:
    client._custom_query = {"api-version": "1"}


def patient(client: Any) -> None:
    client.timeout = 77.0


def with_a_header_below(client: Any) -> None:
    client._client.headers["X-Below"] = "1"


def with_a_query_below(client: Any) -> None:
    client._client.params = {"below": "1"}


@pytest.mark.parametrize(
    "change",
    [
        renamed,
        moved,
        of_an_organization,
        with_a_header,
        with_a_query,
        patient,
        with_a_header_below,
        with_a_query_below,
    ],
)
async def test_its_head_is_the_sdks_whatever_a_user_changes(
    change: Callable[[Any], None], user: AsyncOpenAI, server: ScriptedServer, run: Run, past: Any
) -> None:
    for _ in range(3):
        await said(user)
    before = sent(server)
    assert len(past) == 2, "the first call finds out on which platform it is"
    change(user)
    assert await said(user) == "a"
    changed = sent(server)
    assert len(past) == 3
    async with AsyncOpenAI(base_url=server.base_url, api_key="x") as another:
        change(another)
        assert await said(another) == "a"
    assert len(past) == 3
    assert before != changed == sent(server)


@pytest.mark.parametrize("in_place", [False, True])
async def test_a_timeout_of_the_users_may_become_another(
    in_place: bool, user: AsyncOpenAI, server: ScriptedServer, run: Run, past: Any
) -> None:
    waits: list[float] = []

    async def note(request: httpx2.Request) -> None:
        waits.append(request.extensions["timeout"]["read"])

    user._client.event_hooks["request"].append(note)
    user.timeout = httpx2.Timeout(60.0)
    for _ in range(2):
        await said(user)
    assert server.heads[-1]["x-stainless-read-timeout"] == "60.0"
    if in_place:
        user.timeout.read = 77.0
    else:
        user.timeout = 77.0
    await said(user)
    assert server.heads[-1]["x-stainless-read-timeout"] == "77.0"
    assert (waits, len(past)) == ([60, 60, 77], 2)


@pytest.mark.parametrize("timeout", [openai.DEFAULT_TIMEOUT, 60.0, httpx2.Timeout(60.0)])
async def test_a_head_is_made_once(
    timeout: Any,
    user: AsyncOpenAI,
    server: ScriptedServer,
    run: Run,
    past: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[first_try.Head] = []

    def head(request: httpx2.Request) -> Any:
        made.append(first_try.Head(request))
        return made[-1]

    monkeypatch.setattr(heads, "Head", head)
    user.timeout = timeout
    for _ in range(4):
        await said(user)
    assert (len(past), len(made)) == (3, 1)


async def test_below_a_client_of_the_users_own_nothing_goes_past_the_sdk(
    server: ScriptedServer, user: Any, run: Run, past: Any
) -> None:
    async with (
        openai.DefaultAsyncHttpxClient() as own,
        AsyncOpenAI(base_url=server.base_url, api_key="x", http_client=own) as client,
    ):
        for _ in range(2):
            assert await said(client) == "a"
    assert past == []


@pytest.mark.parametrize(
    "more",
    [
        {"extra_headers": {"X-One": "1"}},
        {"extra_query": {"one": "1"}},
        {"timeout": 55.0},
        {"timeout": httpx2.Timeout(55.0)},
    ],
)
async def test_what_one_call_sets_is_its_own(
    more: Any, user: AsyncOpenAI, server: ScriptedServer, run: Run, past: Any
) -> None:
    await said(user)
    await said(user)
    plain = sent(server)
    await said(user, **more)
    own = sent(server)
    await said(user)
    assert sent(server) == plain != own
    assert len(past) == 3


@pytest.mark.parametrize(
    "more",
    [{"extra_body": {"seed": 1}}, {"extra_headers": {"X-Stainless-Raw-Response": "stream"}}],
)
async def test_what_is_more_than_a_head_and_a_body_is_the_sdks(
    more: Any, user: AsyncOpenAI, server: ScriptedServer, run: Run, past: Any
) -> None:
    await said(user)
    await said(user)
    assert len(past) == 1
    await user.chat.completions.create(**ASKED, stream=True, **more)
    assert len(past) == 1


async def test_a_subclass_is_the_sdks(
    server: ScriptedServer, user: Any, run: Run, past: Any
) -> None:
    class Mine(AsyncOpenAI):
        async def _prepare_options(self, options: Any) -> Any:
            options.headers = {"X-Prepared": "1"}
            return await super()._prepare_options(options)

    async with Mine(base_url=server.base_url, api_key="x") as mine:
        for _ in range(2):
            assert await said(mine) == "a"
            assert server.heads[-1]["x-prepared"] == "1"
    assert past == []


@pytest.mark.parametrize("patched", ["class", "client"])
async def test_who_has_been_patched_is_the_sdks(
    patched: str, server: ScriptedServer, user: Any, run: Run, past: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Any] = []

    async def look(*given: Any) -> None:
        seen.append(given)

    await said(user)
    place = AsyncOpenAI if patched == "class" else user
    monkeypatch.setattr(place, "_prepare_request", look)
    assert await said(user) == "a"
    assert (len(seen), past) == (1, [])


async def test_an_sdk_that_is_not_known_is_left_to_itself(
    server: ScriptedServer, user: Any, run: Run, past: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_KNOWN", None)
    for _ in range(2):
        assert await said(user) == "a"
    assert past == []


async def test_a_key_that_is_asked_for_is_the_sdks(
    server: ScriptedServer, user: Any, run: Run, past: Any
) -> None:
    keys = iter("abc")

    async def key() -> str:
        return next(keys)

    async with AsyncOpenAI(base_url=server.base_url, api_key=key) as client:
        for expected in "abc":
            await said(client)
            assert server.heads[-1]["authorization"] == f"bearer {expected}"
    assert past == []


async def test_it_counts_as_one_of_the_sdks_tries(
    server: ScriptedServer, user: AsyncOpenAI, run: Run, past: Any
) -> None:
    await said(user)
    busy = Answer(b"{}", "application/json", "503 Busy", "Retry-After-Ms: 1\r\n")
    server.answers = deque([busy, busy, Answer(GOOD)])
    assert await said(user) == "a"
    retries = [head["x-stainless-retry-count"] for head in server.heads[1:]]
    assert (retries, len(past)) == (["0", "1", "2"], 1)
    server.answers = deque([busy])
    with pytest.raises(openai.InternalServerError) as raised:
        await said(user)
    assert (raised.value.status_code, len(server.heads)) == (503, 7)


async def test_a_refusal_is_the_sdks_own_error(
    server: ScriptedServer, user: AsyncOpenAI, run: Run, past: Any
) -> None:
    await said(user)
    error = b'{"error": {"message": "no", "code": "c"}}'
    server.answers = deque([Answer(error, "application/json", "401 No", "x-request-id: 7\r\n")])
    with pytest.raises(openai.AuthenticationError) as raised:
        await said(user)
    assert (raised.value.code, raised.value.request_id) == ("c", "7")
    assert (len(server.heads), len(past)) == (2, 1)
    assert raised.value.response.is_closed


async def test_who_cannot_be_reached_is_tried_as_often(
    user: AsyncOpenAI, run: Run, past: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await said(user)
    tries: list[httpx2.Request] = []

    async def sleep(*_: Any, **__: Any) -> None:
        """The SDK's wait."""

    monkeypatch.setattr(user, "_sleep_for_retry", sleep)
    http: Any = user._client
    http.event_hooks["request"].append(lambda request: _note(tries, request))
    user.base_url = "http://127.0.0.1:1/v1"
    with pytest.raises(openai.APIConnectionError) as raised:
        await said(user)
    assert type(raised.value.__cause__) is httpx2.ConnectTimeout
    assert len(past) == 1
    counts = [request.headers["x-stainless-retry-count"] for request in tries]
    assert counts == ["0", "0", "1", "2"], "the second is answered by what the first came to"


async def _note(tries: list[httpx2.Request], request: httpx2.Request) -> None:
    tries.append(request)


async def test_a_redirect_is_followed_and_a_cookie_kept(
    server: ScriptedServer, user: AsyncOpenAI, run: Run, past: Any
) -> None:
    await said(user)
    there = f"Location: {server.base_url}/there\r\nSet-Cookie: c=1\r\n"
    server.answers = deque([Answer(b"", status="307 There", more=there), Answer(GOOD)])
    assert await said(user) == "a"
    assert server.heads[-1][""] == "POST /v1/there HTTP/1.1"
    assert await said(user) == "a"
    assert (server.heads[-1]["cookie"], len(past)) == ("c=1", 2)
    assert server.asked[-1] == server.asked[-2] == server.asked[-3]


async def test_a_body_that_only_the_sdk_can_write_is_its_own(
    server: ScriptedServer, user: AsyncOpenAI, run: Run, past: Any
) -> None:
    await said(user)
    await said(user, metadata={"at": datetime(2026, 1, 1, tzinfo=UTC)})
    assert server.asked[-1]["metadata"] == {"at": "2026-01-01T00:00:00+00:00"}
    assert past == []


async def test_what_langchain_asks_goes_past_the_sdk(
    server: ScriptedServer, user: Any, run: Run, past: Any
) -> None:
    model = chat_model(server.base_url, streaming=True)
    for _ in range(3):
        answer = await model.ainvoke("Why?")
        assert answer.text == "a"
    assert len(past) == 2
    assert server.asked[0] == server.asked[1] == server.asked[2]
    first, *others = (dict(head) for head in server.heads)
    assert others == [first, first]
