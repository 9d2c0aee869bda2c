"""Which hosts a service without sign-in answers to.

A page may let its own name resolve to this machine (DNS rebinding): the browser then takes the
service for the page's own origin, and shows it every answer. Only the `Host` tells such a request
from one of ours. Names that nobody else can own are known, and those that the operator names.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.interfaces.http.problems import Problem

_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")
_Name = str | IPv4Address | IPv6Address


@lru_cache(maxsize=256)
def _name(host: str) -> _Name:
    """Without port, brackets and the dot of the root; a text that is no host is no known name."""
    match = _HOST.fullmatch(host)
    text = (match[1] or match[2] or "") if match else host
    try:
        address = ip_address(text)
    except ValueError:
        return text.removesuffix(".").lower()
    return getattr(address, "ipv4_mapped", None) or address


class KnownHosts:
    """Loopback names and addresses, the address that a request came to, and `names`."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(map(_name, names))

    def know(self, scope: Scope) -> bool:
        """HTTP/1.0 knows no `Host`; a browser, which alone can be led astray, always sends it."""
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not given:
            return bool(scope["http_version"] == "1.0")
        here = scope.get("server")
        own = _name(here[0]) if here else None
        return all(self._known(_name(host), own) for host in given)

    def _known(self, name: _Name, own: _Name | None) -> bool:
        if name in self._names:
            return True
        if isinstance(name, str):
            return name == "localhost" or name.endswith(".localhost")
        return name.is_loopback or name == own


class HostCheck:
    """Answers 421 for every other host, whatever the path and the method."""

    def __init__(self, app: ASGIApp, hosts: KnownHosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not self._hosts.know(scope):
            app = _misdirected(scope["state"]["request_id"])
        await app(scope, receive, send)


def _misdirected(request_id: str) -> Response:
    detail = "This service does not answer to that host: SLUICE_ALLOWED_HOSTS can name it."
    return Problem(421, "unknown_host", detail).response(request_id)
