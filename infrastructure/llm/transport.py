"""The HTTP client below the SDK: its bounds, and which retries are worth their wait."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from typing import Any

import aiohttp
import httpx2
from openai import DefaultAioHttpClient

from sluice.domain.chat import now

from .deadline import Deadline
from .first_try import take_outcomes

_KEEPALIVE_SECONDS = 30.0
_UNLIMITED = 0
"""As aiohttp says it (None would mean its default of 100 to the SDK's transport, and calls would
queue in silence): how many jobs run at once is bounded elsewhere."""
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADERS = 1024

calling: ContextVar[Deadline] = ContextVar("calling")
"""The deadline of the call that is being made."""


def http_client(base_url: str | None, connect_timeout: float) -> httpx2.AsyncClient:
    """The SDK's aiohttp transport: per token it takes little more than half of httpx2's time."""
    client = DefaultAioHttpClient(
        # Everything but connecting is timed by Deadline, over the call as a whole.
        timeout=httpx2.Timeout(None, connect=connect_timeout),
        limits=httpx2.Limits(max_connections=_UNLIMITED, keepalive_expiry=_KEEPALIVE_SECONDS),
        # A redirect would carry the whole prompt to wherever it points.
        follow_redirects=False,
        # HTTP_PROXY without NO_PROXY must not lead the offline model's calls astray.
        trust_env=not _on_this_machine(base_url),
        verify=_certificates(base_url),
        event_hooks={"response": [_refuse_hopeless_wait]},
    )
    transports: list[Any] = [client._transport, *client._mounts.values()]
    for transport in transports:
        if hasattr(transport, "get_client"):
            tuned(transport)
    return client


def tuned(transport: Any) -> Any:
    """The SDK's aiohttp transport, with room for headers, and heard of by first tries."""
    transport.get_client = partial(_with_room_for_headers, transport.get_client)
    take_outcomes(transport)
    return transport


def _with_room_for_headers(
    session_of: Callable[[], aiohttp.ClientSession],
) -> aiohttp.ClientSession:
    """aiohttp refuses a header of more than 8 KB, which other clients take. The SDK's transport
    passes no setting on, and builds its session when it first needs it.
    """
    session = session_of()
    session._max_line_size = session._max_field_size = _MAX_HEADER_BYTES
    session._max_headers = _MAX_HEADERS
    return session


def _certificates(base_url: str | None) -> ssl.SSLContext | bool:
    """To load them takes 40 ms of a start. Where nothing speaks TLS nobody is trusted instead."""
    if httpx2.URL(base_url or "").scheme == "http" and _on_this_machine(base_url):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True


def _on_this_machine(base_url: str | None) -> bool:
    host = httpx2.URL(base_url or "").host
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


async def _refuse_hopeless_wait(response: httpx2.Response) -> None:
    """Keeps the SDK from waiting for a retry when that can only end in a timeout."""
    if _retry_after(response.headers) >= calling.get().remaining:
        response.headers["x-should-retry"] = "false"


def _retry_after(headers: httpx2.Headers) -> float:
    """In seconds, as the SDK reads it: milliseconds, else seconds, else a date; 0 without."""
    with suppress(KeyError, ValueError):
        return float(headers["retry-after-ms"]) / 1000
    with suppress(KeyError, ValueError):
        return float(headers["retry-after"])
    with suppress(KeyError, ValueError, TypeError):
        return (parsedate_to_datetime(headers["retry-after"]) - now()).total_seconds()
    return 0
