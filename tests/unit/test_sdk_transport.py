"""Which clients of a user's get aiohttp below them, and when they get their own back."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from sluice.infrastructure.openai_sdk.transport import Transports


@pytest.fixture
async def client(no_settings: None) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url="http://x", api_key="x") as client:
        yield client


def below(client: Any) -> Any:
    return client._client._transport


def session(client: Any) -> Any:
    """As a first request makes it."""
    transport = below(client)
    transport.client = transport.get_client()
    return transport.client


async def test_a_client_that_the_sdk_built_is_swapped_once_and_gets_its_own_back(
    client: AsyncOpenAI,
) -> None:
    """And whoever asks is told whether ours is below it."""
    transports, before = Transports(), below(client)
    assert transports.swap(client) is True
    ours = below(client)
    assert "Aiohttp" in type(ours).__name__
    assert transports.swap(client) is True
    assert below(client) is ours
    opened = session(client)
    await transports.aclose()
    assert below(client) is before
    assert opened.closed
    await transports.aclose()
    assert below(client) is before


async def test_it_is_unbounded_and_keeps_connections_for_half_a_minute(client: AsyncOpenAI) -> None:
    transports = Transports()
    transports.swap(client)
    connector = session(client).connector
    assert (connector.limit, connector._keepalive_timeout) == (0, 30)
    await transports.aclose()


async def test_it_trusts_the_certificates_that_the_other_trusts(client: AsyncOpenAI) -> None:
    transports, context = Transports(), ssl.create_default_context()
    below(client)._pool._ssl_context = context
    transports.swap(client)
    assert session(client).connector._ssl is context
    await transports.aclose()


async def test_without_a_trust_of_its_own_it_trusts_whom_everybody_trusts(
    client: AsyncOpenAI,
) -> None:
    transports = Transports()
    below(client)._pool._ssl_context = None
    transports.swap(client)
    connector = session(client).connector
    assert connector._ssl.verify_mode is ssl.CERT_REQUIRED
    await transports.aclose()


async def test_a_client_on_a_second_loop_gets_its_own_back_for_good(client: AsyncOpenAI) -> None:
    transports, before = Transports(), below(client)
    transports.swap(client)
    opened = session(client)

    async def elsewhere() -> None:
        assert transports.swap(client) is False

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert below(client) is before
    assert transports.swap(client) is False
    assert below(client) is before
    assert not opened.closed
    await transports.aclose()
    assert opened.closed
    transports.swap(client)
    assert below(client) is before


async def test_a_client_that_is_new_on_a_second_loop_is_left_alone(client: AsyncOpenAI) -> None:
    transports = Transports()
    transports.swap(client)
    async with AsyncOpenAI(base_url="http://x", api_key="x") as other:
        before = below(other)

        async def elsewhere() -> None:
            assert transports.swap(other) is False

        await asyncio.to_thread(asyncio.run, elsewhere())
        assert below(other) is before
        assert transports.swap(other) is True
        assert below(other) is not before
    await transports.aclose()


async def test_after_an_end_another_loop_may_be_the_first(client: AsyncOpenAI) -> None:
    transports = Transports()
    transports.swap(client)
    await transports.aclose()

    async def elsewhere() -> None:
        async with AsyncOpenAI(base_url="http://x", api_key="x") as other:
            transports.swap(other)
            assert "Aiohttp" in type(below(other)).__name__
            await transports.aclose()

    await asyncio.to_thread(asyncio.run, elsewhere())


class OwnTransport(httpx2.AsyncHTTPTransport):
    pass


@pytest.mark.parametrize(
    "http",
    [
        lambda: httpx2.AsyncClient(),
        lambda: DefaultAsyncHttpxClient(),
        lambda: SimpleNamespace(),
    ],
)
async def test_a_client_below_that_is_the_users_own_is_left_alone(http: Any) -> None:
    given = http()
    before = getattr(given, "_transport", None)
    assert Transports().swap(SimpleNamespace(_client=given)) is False
    assert getattr(given, "_transport", None) is before


async def test_what_has_no_client_below_is_left_alone() -> None:
    assert Transports().swap(SimpleNamespace()) is False


async def test_whoever_is_not_as_known_is_left_alone(client: AsyncOpenAI) -> None:
    http: Any = client._client
    known = http._transport

    def is_left_alone() -> bool:
        before = http._transport
        Transports().swap(client)
        return http._transport is before

    http._transport = OwnTransport()
    assert is_left_alone()
    http._transport = SimpleNamespace(_pool=known._pool)
    assert is_left_alone()
    http._transport, http._mounts = known, {"all://": None}
    assert is_left_alone()
    http._mounts, pool = {}, known._pool
    for name, other in [("_uds", "/x"), ("_local_address", "127.0.0.1")]:
        setattr(pool, name, other)
        assert is_left_alone()
        setattr(pool, name, None)
    for name in ("_ssl_context", "_uds", "_local_address"):
        kept = getattr(pool, name)
        delattr(pool, name)
        assert is_left_alone()
        setattr(pool, name, kept)
    del http._mounts
    assert is_left_alone()
    http._mounts = {}
