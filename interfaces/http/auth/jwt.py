"""`jwt`: a signed token says who asks: a bearer, `x-api-key`, or the cookie `s_access`."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import jwt
from starlette.requests import HTTPConnection

from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import Unavailable
from sluice.interfaces.http.auth.identity import User, unauthorized, valid_id

logger = logging.getLogger(__name__)

_CLOCK_SKEW_SECONDS = 5
_KEYS_FRESH_SECONDS = 300
_FETCH_INTERVAL_SECONDS = 10
_FETCH_TIMEOUT_SECONDS = 5
"""Of a fetch's every step."""


class Keys(Protocol):
    """`algorithms` are fixed by the kind of key: a token never chooses how it is checked."""

    @property
    def algorithms(self) -> Sequence[str]: ...

    async def of(self, token: str, /) -> jwt.PyJWK | str:
        """Raises PyJWTError if there is none, and Unavailable while that is not known."""
        ...


class SharedSecret:
    algorithms = ("HS256",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def of(self, _token: str, /) -> str:
        return self._secret


class KeySet:
    """A JWKS at a URL or in a file, fetched in a thread of its own, at most one fetch at a time.

    Known keys are used while newer ones are fetched, and as long as they cannot be.
    """

    algorithms = ("RS256", "ES256")

    def __init__(self, source: str) -> None:
        self._source = source
        # The loop's default executor is for users' nodes: nobody signs in while all of it is busy.
        self._fetcher = ThreadPoolExecutor(1, thread_name_prefix="jwks")
        self._keys: Sequence[jwt.PyJWK] = ()
        self._asked: float | None = None
        self._fetch: asyncio.Task[None] | None = None

    async def of(self, token: str, /) -> jwt.PyJWK:
        kid = jwt.get_unverified_header(token).get("kid")
        key = self._find(kid)
        if (
            self._older_than(_FETCH_INTERVAL_SECONDS if key is None else _KEYS_FRESH_SECONDS)
            and not self._fetching
        ):
            self._asked = time.monotonic()
            self._fetch = asyncio.create_task(self._refresh())
        if key is None and self._fetch is not None:
            await asyncio.shield(self._fetch)
            key = self._find(kid)
        if not self._keys:
            raise Unavailable("the key set cannot be had")
        if key is None:
            raise jwt.InvalidTokenError("no such key")
        return key

    def _find(self, kid: object) -> jwt.PyJWK | None:
        """A token without a key's id can mean a set's only key."""
        if kid is None and len(self._keys) == 1:
            return self._keys[0]
        return next((key for key in self._keys if key.key_id == kid), None)

    @property
    def _fetching(self) -> bool:
        return self._fetch is not None and not self._fetch.done()

    def _older_than(self, seconds: float) -> bool:
        return self._asked is None or time.monotonic() - self._asked > seconds

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._keys = await loop.run_in_executor(self._fetcher, read_keys, self._source)
        except Unavailable as error:
            logger.warning("the keys of SLUICE_JWT_JWKS cannot be had: %s", format_traceback(error))


def read_keys(source: str) -> Sequence[jwt.PyJWK]:
    """Blocks. Raises Unavailable, also when no key is usable."""
    try:
        if source.startswith(("https://", "http://")):
            client = jwt.PyJWKClient(source, cache_jwk_set=False, timeout=_FETCH_TIMEOUT_SECONDS)
            found = client.get_jwk_set().keys
        else:
            found = jwt.PyJWKSet.from_json(Path(source).read_text("utf-8")).keys
    # What is JSON but no key set fails in the library in any of these ways.
    except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise Unavailable("the key set cannot be read") from error
    usable = [key for key in found if key.algorithm_name in KeySet.algorithms]
    signing = [key for key in usable if key.public_key_use in {None, "sig"}]
    if not signing:
        raise Unavailable("the key set holds no RS256 or ES256 key")
    return signing


class TokenIdentity:
    """A token's algorithm says which of the keys may check it: each knows its own ones only."""

    def __init__(self, *keys: Keys, audience: str | None = None, issuer: str | None = None) -> None:
        self._keys, self._audience, self._issuer = keys, audience, issuer

    async def __call__(self, request: HTTPConnection, /) -> User:
        token, shown_by = _token(request)
        try:
            keys = self._of(jwt.get_unverified_header(token).get("alg"))
            claims = jwt.decode(
                token,
                await keys.of(token),
                algorithms=keys.algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_CLOCK_SKEW_SECONDS,
                options={"require": ["sub"], "verify_aud": self._audience is not None},
            )
            expires = float(claims["exp"]) + _CLOCK_SKEW_SECONDS if "exp" in claims else None
        except (jwt.PyJWTError, OverflowError):  # of a time that no clock can show
            raise unauthorized() from None
        user = claims["sub"]
        if not valid_id(user):
            raise unauthorized()
        return User(user, sticky=user, expires=expires, shown_by=shown_by)

    def _of(self, algorithm: object) -> Keys:
        for keys in self._keys:
            if algorithm in keys.algorithms:
                return keys
        raise jwt.InvalidAlgorithmError("no key is for that")


def _token(request: HTTPConnection) -> tuple[str, Literal["bearer", "cookie"]]:
    """A bearer that is wrong is not made good by a cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip(), "bearer"
    if key := request.headers.get("x-api-key"):  # what LangGraph's clients send
        return key, "bearer"
    if cookie := request.cookies.get("s_access"):
        return cookie, "cookie"
    raise unauthorized()
