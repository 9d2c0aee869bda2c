"""The HTTP client below the SDK: what it bounds, whom it trusts, and when a retry is worth it."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from sluice.infrastructure.llm import transport
from sluice.infrastructure.llm.transport import calling, http_client

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_new_year(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "now", lambda: NOW)


def opened(below: Any) -> Any:
    """Its session, as a first request makes it."""
    below.client = below.get_client()
    return below.client


def later(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds))


async def test_only_connecting_has_a_timeout_of_its_own() -> None:
    async with http_client("http://x", 7) as client:
        assert client.timeout == httpx2.Timeout(None, connect=7)
        assert not client.follow_redirects


async def test_connections_are_unbounded_and_kept_for_half_a_minute() -> None:
    async with http_client("http://x", 7) as client:
        session = opened(client._transport)
        assert (session.connector.limit, session.connector._keepalive_timeout) == (0, 30)


@pytest.mark.parametrize("url", ["http://x", None])
async def test_headers_may_be_long_and_many(url: str | None, no_settings: None) -> None:
    async with http_client(url, 7) as client:
        session = opened(client._transport)
        assert (session._max_line_size, session._max_field_size) == (65536, 65536)
        assert session._max_headers == 1024


@pytest.mark.parametrize(
    ("url", "trusts"),
    [
        ("http://127.0.0.1:1/v1", False),
        ("http://localhost/v1", False),
        ("https://127.0.0.1:1/v1", True),
        ("http://x", True),
        (None, True),
    ],
)
async def test_certificates_are_loaded_where_tls_may_be_spoken(
    url: str | None, trusts: bool, no_settings: None
) -> None:
    async with http_client(url, 7) as client:
        below: Any = client._transport
        context: ssl.SSLContext = below.ssl_context
        assert bool(context.get_ca_certs()) == trusts
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_headers_may_be_long_behind_a_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with http_client("http://x", 7) as client:
        [mounted] = [each for each in client._mounts.values() if each is not None]
        assert opened(mounted)._max_field_size == 65536


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://localhost:1/v1", False),
        ("http://127.0.0.9/v1", False),
        ("http://[::1]/v1", False),
        ("http://10.0.0.1/v1", True),
        ("https://example.org/v1", True),
        (None, True),
    ],
)
async def test_this_machine_is_asked_past_any_proxy(url: str | None, proxied: bool) -> None:
    async with http_client(url, 7) as client:
        assert client.trust_env is proxied


@pytest.mark.parametrize(
    ("headers", "hopeless"),
    [
        ({}, False),
        ({"retry-after": "9"}, False),
        ({"retry-after": "10"}, True),
        ({"retry-after": "11"}, True),
        ({"retry-after-ms": "9000"}, False),
        ({"retry-after-ms": "10000"}, True),
        ({"retry-after-ms": "11000"}, True),
        ({"retry-after-ms": "11000", "retry-after": "1"}, True),
        ({"retry-after-ms": "x", "retry-after": "11"}, True),
        ({"retry-after": later(9)}, False),
        ({"retry-after": later(11)}, True),
        ({"retry-after": "Thu, 01 Jan 2026 00:00:11"}, False),  # no zone, so no moment
        ({"retry-after": "soon"}, False),
    ],
)
async def test_a_wait_that_can_only_end_in_a_timeout_is_not_begun(
    headers: Mapping[str, str], hopeless: bool
) -> None:
    assert await retried(httpx2.Headers(headers), remaining=10) is not hopeless


async def test_no_wait_is_worth_it_when_no_time_is_left() -> None:
    assert await retried(httpx2.Headers(), remaining=0.5)
    assert not await retried(httpx2.Headers(), remaining=0)


async def retried(headers: httpx2.Headers, *, remaining: float) -> bool:
    """Whether it is left to the SDK."""
    response = httpx2.Response(429, headers=headers)
    exactly: Any = SimpleNamespace(remaining=remaining)
    token = calling.set(exactly)
    try:
        async with http_client("http://x", 7) as client:
            [hook] = client.event_hooks["response"]
            await hook(response)
    finally:
        calling.reset(token)
    return response.headers.get("x-should-retry") != "false"
