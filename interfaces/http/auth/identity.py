"""Who asks. A job, a chat or a key of another user is then like one that never was."""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal, Protocol
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from sluice.interfaces.http.problems import Problem

Network = IPv4Network | IPv6Network
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class User:
    """`sticky` is what a share of the rollout is drawn by; None draws it per chat.

    `expires` is in seconds since the epoch. `shown_by` is what proved the identity: a browser
    adds a cookie by itself, whatever page the request comes from; it never adds a bearer token.
    """

    id: str
    sticky: str | None = None
    expires: float | None = None
    shown_by: Literal["address", "bearer", "cookie"] = "address"


class Identity(Protocol):
    async def __call__(self, request: HTTPConnection, /) -> User:
        """Raises Problem 401, and Unavailable when the keys to check with cannot be had."""
        ...


class Anonymous:
    """`none`: everybody is one user."""

    async def __call__(self, _request: HTTPConnection, /) -> User:
        return User("anonymous")


class TrustedHeader:
    """`trusted-header`: a proxy in front has checked the user, and says so in `X-User-ID`."""

    def __init__(self, proxies: Collection[Network]) -> None:
        self._proxies = proxies

    async def __call__(self, request: HTTPConnection, /) -> User:
        given = request.headers.getlist("x-user-id")
        if len(given) != 1 or not valid_id(given[0]) or not trusted(request, self._proxies):
            raise unauthorized()
        return User(given[0], sticky=given[0])


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Headers that a chat front end sends for its users; believed only from `proxies`."""

    user_header: str | None = None
    chat_header: str | None = None
    proxies: Collection[Network] = ()

    def user(self, request: HTTPConnection) -> User | None:
        """None where nobody is named. Raises Problem 401 for a name that cannot be one, or two."""
        if (name := self._given(request, self.user_header)) is None:
            return None
        if not valid_id(name):
            raise unauthorized()
        return User(name, sticky=name)

    def chat(self, request: HTTPConnection) -> str | None:
        return self._given(request, self.chat_header)

    def _given(self, request: HTTPConnection, header: str | None) -> str | None:
        """What a front end has not filled in is not given."""
        if header is None or not trusted(request, self.proxies):
            return None
        found = request.headers.getlist(header)
        if len(found) > 1:
            raise unauthorized()
        given = "".join(found)
        return None if given in {"", "new"} or given.startswith("{{") else given


def trusted(request: HTTPConnection, proxies: Collection[Network]) -> bool:
    if request.client is None:
        return False
    peer = ip_address(request.client.host)
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in proxies)


def valid_id(user: object) -> bool:
    return isinstance(user, str) and 0 < len(user) <= _LONGEST_ID and user.isprintable()


def unauthorized() -> Problem:
    """Never says what was wrong: that would help only whoever guesses."""
    detail = "Please say who you are: the request carries no valid identity."
    return Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})


def check_origin(request: HTTPConnection, user: User, allowed: Collection[str]) -> None:
    """Lets a browser change things only from our own page or an allowed origin's.

    Raises Problem 403. Programs that are no browser send no Origin and need none, but with a
    cookie it must be there.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if user.shown_by == "bearer" or site == "same-origin" or origin in allowed:
        return
    if origin is None:
        elsewhere = user.shown_by == "cookie" or site in {"cross-site", "same-site"}
    else:
        elsewhere = _netloc(origin) != request.headers.get("host")
    if elsewhere:
        raise Problem(403, "forbidden", "The request comes from a page of another origin.")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # a bracket that is not closed, for one
        return ""
