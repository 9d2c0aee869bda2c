"""Users, and how they show who they are."""

import time
from ipaddress import ip_network
from typing import Any

import jwt

from sluice.interfaces.http.auth.identity import Identity
from sluice.interfaces.http.auth.jwt import SharedSecret, TokenIdentity
from tests.http.house import House

SECRET = "a secret of many more bytes than any of the hashes could ever want"


LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


def token(
    key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **claims: Any
) -> str:
    given = {"sub": "ann", "exp": time.time() + 60} | claims
    given = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(given, key, algorithm, headers={"kid": kid} if kid else None)


def bearer(*args: Any, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*args, **claims)}"}


def by_secret(**options: Any) -> Identity:
    return TokenIdentity(SharedSecret(SECRET), **options)


async def status(house: House, headers: Any = None, path: str = "/api/v1/chat") -> int:
    return (await house.client.get(path, headers=headers)).status_code
