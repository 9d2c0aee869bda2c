"""aiohttp in the place of httpx2 below a client that the SDK or langchain-openai built itself.

Per token it takes little more than half the time. Everything above the transport stays: hooks,
headers, authentication, redirects, retries. A client that the user gave the SDK is theirs.
"""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import httpx2
from openai import DefaultAioHttpClient

from sluice.infrastructure.llm.transport import tuned

_OF_LIBRARIES = ("AsyncHttpxClientWrapper", "_AsyncHttpxClientWrapper")
_KEEPALIVE_SECONDS = 30.0
_UNLIMITED = 0
"""As aiohttp says it; with None, calls beyond its default of 100 would queue in silence."""


class Transports:
    """Swaps on the first loop that asks only: an aiohttp session belongs to one loop, and a
    client that is used on another one too gets its own back for good.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._before: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._shared: WeakSet[Any] = WeakSet()
        self._left: list[Any] = []

    def swap(self, client: Any) -> bool:
        """Does nothing unless all that is replaced is known, private names included. Whether ours
        is below it now.
        """
        http: Any = getattr(client, "_client", None)
        loop = asyncio.get_running_loop()
        if http in self._before:
            if loop is not self._loop:
                self._left.append(http._transport)
                http._transport = self._before.pop(http)
                self._shared.add(http)
            return http in self._before
        if http is None or http in self._shared or not _replaceable(http):
            return False
        if self._loop is None:
            self._loop = loop
        if self._loop is loop:
            self._before[http] = http._transport
            http._transport = _aiohttp(http._transport)
        return http in self._before

    async def aclose(self) -> None:
        """Puts the clients' own transports back, and closes the others."""
        left, self._left = self._left, []
        for http, before in self._before.items():
            left.append(http._transport)
            http._transport = before
        self._before.clear()
        self._loop = None
        for transport in left:
            await transport.aclose()


def _replaceable(http: Any) -> bool:
    transport = getattr(http, "_transport", None)
    pool: Any = getattr(transport, "_pool", None)
    return (
        type(http).__name__ in _OF_LIBRARIES
        and getattr(http, "_mounts", None) == {}
        and type(transport) is httpx2.AsyncHTTPTransport
        and all(hasattr(pool, name) for name in ("_ssl_context", "_uds", "_local_address"))
        and pool._uds is None
        and pool._local_address is None
    )


def _aiohttp(transport: Any) -> Any:
    """With the trust in certificates that the other one has."""
    client = DefaultAioHttpClient(
        verify=transport._pool._ssl_context or True,
        limits=httpx2.Limits(max_connections=_UNLIMITED, keepalive_expiry=_KEEPALIVE_SECONDS),
    )
    return tuned(client._transport)
