"""`jwt`: which tokens say who asks, and where the keys come from."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sluice.interfaces.http.auth.jwt import KeySet, SharedSecret, TokenIdentity
from tests.http.house import DONE, House, serving
from tests.http.who import SECRET, bearer, by_secret, status, token
from tests.waiting import until

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


EC = ec.generate_private_key(ec.SECP256R1())
ONLY_SHARED = '{"keys": [{"kty": "oct", "kid": "r", "k": "c2VjcmV0"}]}'


def public_jwk(key: Any, **fields: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if key is RSA else jwt.algorithms.ECAlgorithm
    jwk: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return jwk | fields


def key_file(folder: Path, *keys: dict[str, Any]) -> KeySet:
    path = folder / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    return KeySet(str(path))


async def chat_id(house: House, headers: dict[str, str]) -> str:
    answer = await house.client.post("/api/v1/chat", headers=headers)
    assert answer.status_code == 201
    chat: str = answer.json()["id"]
    return chat


async def test_a_signed_token_says_who_asks() -> None:
    async with serving(DONE, identity=by_secret()) as house:
        chat = await chat_id(house, bearer())
        path = f"/api/v1/chat/{chat}"
        assert await status(house, bearer(), path) == 200
        assert await status(house, {"Cookie": f"s_access={token()}"}, path) == 200
        assert await status(house, {"Authorization": f"bearer  {token()}"}, path) == 200
        assert await status(house, bearer(sub="bob"), path) == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Basic {token()}"},
        bearer(SECRET + "!"),
        bearer(exp=time.time() - 60),
        bearer(exp=1),
        bearer(nbf=time.time() + 600),
        bearer(sub=None),
        bearer(sub=""),
        bearer(sub="a\nb"),
        bearer(sub="\ud800"),
        bearer(sub="x" * 256),
        bearer(SECRET, "HS384"),
        bearer("", "none"),
        {"Authorization": "Bearer " + "." * 10_000},
        {"Authorization": "Bearer nonsense", "Cookie": f"s_access={token()}"},
        {"Cookie": "s_access="},
        {"Cookie": "s_access=nonsense"},
        {"X-User-ID": "ann"},
    ],
)
async def test_anything_else_is_asked_to_say_who_it_is(headers: dict[str, str]) -> None:
    async with serving(identity=by_secret()) as house:
        answer = await house.client.get("/api/v1/chat", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"
        without = await house.client.get("/api/v1/chat")
        assert answer.json() | {"request_id": ""} == without.json() | {"request_id": ""}


async def test_a_token_that_tries_to_break_its_reader_is_refused() -> None:
    deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 10_000).decode()
    async with serving(identity=by_secret()) as house:
        for made in (f"{deep}.e30.x", f"{deep}.{deep}.{deep}", "e30.e30.e30", "é.é.é"):
            assert await status(house, [("Authorization", f"Bearer {made}".encode())]) == 401


async def test_a_token_may_have_no_end() -> None:
    async with serving(identity=by_secret()) as house:
        assert await status(house, bearer(exp=None)) == 200
        assert await status(house, bearer(exp=2**53)) == 200
        assert await status(house, bearer(exp=10**400)) == 401


async def test_audience_and_issuer_are_checked_where_they_are_asked_for() -> None:
    async with serving(identity=by_secret(audience="us", issuer="them")) as house:
        assert await status(house, bearer(aud="us", iss="them")) == 200
        assert await status(house, bearer(aud=["us", "others"], iss="them")) == 200
        assert await status(house, bearer(aud="others", iss="them")) == 401
        assert await status(house, bearer(aud="us", iss="others")) == 401
        assert await status(house, bearer(aud="us")) == 401
        assert await status(house, bearer(iss="them")) == 401
    async with serving(identity=by_secret()) as house:
        assert await status(house, bearer(aud="anybody", iss="anybody")) == 200


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
async def test_a_key_set_checks_what_its_keys_have_signed(
    key: Any, algorithm: str, tmp_path: Path
) -> None:
    keys = key_file(tmp_path, public_jwk(RSA, kid="r", use="sig"), public_jwk(EC, kid="e"))
    kid = "r" if key is RSA else "e"
    async with serving(identity=TokenIdentity(keys)) as house:
        assert await status(house, bearer(key, algorithm, kid)) == 200
        assert await status(house, bearer(key, algorithm, "unknown")) == 401
        assert await status(house, bearer(key, algorithm)) == 401
        assert await status(house, bearer(exp=1)) == 401


async def test_a_secret_and_a_key_set_are_used_side_by_side(tmp_path: Path) -> None:
    keys = key_file(tmp_path, public_jwk(RSA, kid="r"))
    async with serving(identity=TokenIdentity(SharedSecret(SECRET), keys)) as house:
        assert await status(house, bearer()) == 200
        assert await status(house, bearer(RSA, "RS256", "r")) == 200
        assert await status(house, bearer("another secret of 32 bytes or more")) == 401
        assert await status(house, bearer(RSA, "RS512", "r")) == 401


async def test_the_only_key_of_a_set_needs_no_name(tmp_path: Path) -> None:
    keys = key_file(tmp_path, public_jwk(RSA))
    async with serving(identity=TokenIdentity(keys)) as house:
        assert await status(house, bearer(RSA, "RS256")) == 200
        assert await status(house, bearer(RSA, "RS512")) == 401


async def test_a_token_never_chooses_how_it_is_checked(tmp_path: Path) -> None:
    public = public_jwk(RSA, kid="r")
    shared = {"kty": "oct", "kid": "s", "k": jwt.utils.base64url_encode(SECRET.encode()).decode()}
    keys = key_file(tmp_path, public, shared)
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = jwt.api_jws.PyJWS(algorithms=["HS256"])
    forged._algorithms["HS256"].prepare_key = lambda key: key  # type: ignore[method-assign]
    claims = json.dumps({"sub": "ann"}).encode()
    by_public_key = forged.encode(claims, pem, "HS256", headers={"kid": "r"})
    async with serving(identity=TokenIdentity(keys)) as house:
        assert await status(house, {"Authorization": f"Bearer {by_public_key}"}) == 401
        assert await status(house, bearer(SECRET, "HS256", "s")) == 401
        assert await status(house, bearer(RSA, "RS256", "r")) == 200


@asynccontextmanager
async def key_server(keys: list[dict[str, Any]], fetches: list[str]) -> AsyncIterator[str]:
    """Serves what `keys` holds at the moment; nothing at all is a fault of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetches.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = json.dumps({"keys": keys})
        kind = "200 OK" if keys else "500 Broken"
        head = f"HTTP/1.0 {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"


async def test_keys_are_fetched_once_for_many_and_again_for_a_new_one(tmp_path: Path) -> None:
    served = [public_jwk(RSA, kid="r")]
    fetches: list[str] = []
    async with key_server(served, fetches) as url:
        keys = KeySet(url)
        async with serving(identity=TokenIdentity(keys)) as house:
            asks = [status(house, bearer(RSA, "RS256", "r")) for _ in range(5)]
            assert set(await asyncio.gather(*asks)) == {200}
            assert len(fetches) == 1
            served.append(public_jwk(EC, kid="e"))
            assert await status(house, bearer(EC, "ES256", "e")) == 401  # asked too soon again
            keys._asked = None
            assert await status(house, bearer(EC, "ES256", "e")) == 200
            assert len(fetches) == 2


async def test_known_keys_serve_while_newer_ones_cannot_be_had() -> None:
    served = [public_jwk(RSA, kid="r")]
    async with key_server(served, []) as url:
        keys = KeySet(url)
        async with serving(identity=TokenIdentity(keys)) as house:
            assert await status(house, bearer(RSA, "RS256", "r")) == 200
            served.clear()
            keys._asked = None
            assert await status(house, bearer(RSA, "RS256", "r")) == 200
            await until(lambda: keys._fetch is not None and keys._fetch.done())
            assert await status(house, bearer(RSA, "RS256", "r")) == 200


@pytest.mark.parametrize(
    "content",
    [
        ONLY_SHARED,
        None,
        "",
        "<html>",
        "{}",
        '{"keys": []}',
        '{"keys": [1]}',
        '{"keys": 7}',
        "[1]",
        '"a"',
    ],
)
async def test_without_any_key_nobody_is_refused_for_good(
    content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
    async with serving(identity=TokenIdentity(KeySet(str(path)))) as house:
        answer = await house.client.get("/api/v1/chat", headers=bearer(RSA, "RS256", "r"))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        stream = await house.client.get(
            "/api/v1/chat/any/events", headers=bearer(RSA, "RS256", "r")
        )
        assert (stream.status_code, stream.text[:7]) == (200, "retry: ")
