"""Who asks: the three forms, ownership on every route, and pages of other origins."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.events import StageStarted
from interfaces.http.identity import Anonymous, Identity, TrustedHeader
from interfaces.http.tokens import KeySet, SharedSecret, TokenIdentity
from tests.http.house import DONE, House, serving, until

SECRET = "a secret of many more bytes than any of the hashes could ever want"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
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


def public_jwk(key: Any, **fields: Any) -> dict[str, Any]:
    kind = jwt.algorithms.RSAAlgorithm if key is RSA else jwt.algorithms.ECAlgorithm
    jwk: dict[str, Any] = kind.to_jwk(key.public_key(), as_dict=True)
    return jwk | fields


def key_file(folder: Path, *keys: dict[str, Any]) -> KeySet:
    path = folder / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    return KeySet(str(path))


async def status(house: House, headers: Any = None, path: str = "/api/v1/chat") -> int:
    return (await house.client.get(path, headers=headers)).status_code


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
    deep = jwt.utils.base64url_encode(b'{"alg":' + b"[" * 20_000).decode()
    async with serving(identity=by_secret()) as house:
        for made in (f"{deep}.e30.x", f"{deep}.{deep}.{deep}", "e30.e30.e30", "é.é.é"):
            assert await status(house, [("Authorization", f"Bearer {made}".encode())]) == 401


async def test_a_token_may_have_no_end() -> None:
    async with serving(identity=by_secret()) as house:
        assert await status(house, bearer(exp=None)) == 200
        assert await status(house, bearer(exp=2**53)) == 200


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
    [None, "", "<html>", "{}", '{"keys": []}', '{"keys": [1]}', '{"keys": 7}', "[1]", '"a"'],
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


async def test_a_header_is_believed_from_a_trusted_peer_only() -> None:
    async with serving(identity=TrustedHeader(LOOPBACK)) as house:
        assert await status(house, {"X-User-ID": "ann"}) == 200
        assert await status(house) == 401
        for given in ("", "a\tb", "x" * 256):
            assert await status(house, {"X-User-ID": given}) == 401
        assert await status(house, [("X-User-ID", "ann"), ("X-User-ID", "bob")]) == 401
        assert await status(house, {"X-User-ID": "ann", "X-Forwarded-For": "9.9.9.9"}) == 200
    async with serving(identity=TrustedHeader([ip_network("10.0.0.0/8")])) as house:
        assert await status(house, {"X-User-ID": "ann", "X-Forwarded-For": "10.0.0.1"}) == 401


OWNED = [
    ("GET", "/api/v1/chat/{chat}", None),
    ("PATCH", "/api/v1/chat/{chat}", {"title": "mine"}),
    ("DELETE", "/api/v1/chat/{chat}", None),
    ("POST", "/api/v1/chat/{chat}/messages", {"message": "a"}),
    ("POST", "/api/v1/chat/{chat}/messages", {"retry_of": "{job}"}),
    ("GET", "/api/v1/jobs/{job}", None),
    ("DELETE", "/api/v1/jobs/{job}", None),
    ("POST", "/api/v1/chat/{job}/input", {"type": "cancel"}),
    ("GET", "/api/v1/chat/{job}/events", None),
    ("GET", "/api/v1/chat/{job}/events?last_event_id=1-1", None),
    ("HEAD", "/api/v1/chat/{job}/events", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OWNED)
async def test_what_is_anothers_is_like_what_never_was(method: str, path: str, body: Any) -> None:
    gate = asyncio.Event()
    ann, bob = {"X-User-ID": "ann"}, {"X-User-ID": "bob"}
    async with serving(gate, DONE, identity=TrustedHeader(LOOPBACK)) as house:
        asked = (
            await house.client.post("/api/v1/chat", json={"message": "Why?"}, headers=ann)
        ).json()

        async def answered(chat: str, job: str) -> httpx2.Response:
            url = path.format(chat=chat, job=job)
            given = json.loads(json.dumps(body).replace("{job}", job)) if body else None
            return await house.client.request(method, url, json=given, headers=bob)

        theirs = await answered(asked["chat_id"], asked["job_id"])
        nobodys = await answered("never-was", "never-was")
        assert theirs.status_code == nobodys.status_code == 404
        if method != "HEAD":
            assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
        assert _shape(theirs) == _shape(nobodys)
        mine = await house.client.get(f"/api/v1/jobs/{asked['job_id']}", headers=ann)
        assert mine.json()["status"] in {"queued", "running"}
        gate.set()


def _shape(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OWN}


_OWN = {"x-request-id", "date"}


async def test_lists_sessions_and_keys_belong_to_their_user() -> None:
    ann, bob = {"X-User-ID": "ann"}, {"X-User-ID": "bob"}
    async with serving(DONE, identity=TrustedHeader(LOOPBACK)) as house:
        asked = {}
        for name, who in (("ann", ann), ("bob", bob)):
            answer = await house.client.post(
                "/api/v1/chat",
                json={"message": "Why?", "session_id": "s"},
                headers=who | {"Idempotency-Key": "k"},
            )
            asked[name] = answer.json()
            items = (await house.client.get("/api/v1/chat", headers=who)).json()["items"]
            assert [chat["id"] for chat in items] == [asked[name]["chat_id"]]
        assert asked["ann"]["chat_id"] != asked["bob"]["chat_id"]
        assert asked["ann"]["job_id"] != asked["bob"]["job_id"]
        assert house.flag.keys == ["ann", "bob"]


async def test_a_stream_ends_when_its_readers_identity_does() -> None:
    async with serving(StageStarted("answer", 0), asyncio.Event(), identity=by_secret()) as house:
        # The leeway is over in a moment: the token has been past its end for nearly as long.
        headers = bearer(exp=int(time.time()) - 4)
        asked = await house.client.post("/api/v1/chat", json={"message": "a"}, headers=bearer())
        answer = await house.client.get(asked.json()["stream_url"], headers=headers)
        assert answer.status_code == 200
        assert b"event: stage" in answer.content
        assert b"event: cancelled" not in answer.content
        assert (house.streams.expired, house.streams.open) == (1, 0)
        job = await house.client.get(asked.headers["location"], headers=bearer())
        assert job.json()["status"] == "running"


OURS = "https://ours.example"
CHANGES = [("POST", "/api/v1/chat"), ("DELETE", "/api/v1/jobs/any"), ("PATCH", "/api/v1/chat/a")]


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, True),
        ({"Origin": "{self}"}, False),
        ({"Origin": OURS}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, False),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "{self}.evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": ""}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": OURS}, False),
    ],
)
async def test_a_cookie_changes_things_only_from_a_page_of_ours(
    headers: dict[str, str], refused: bool
) -> None:
    async with serving(identity=by_secret(), cors_origins=[OURS]) as house:
        given = {name: value.format(self=house.url) for name, value in headers.items()}
        given["Cookie"] = f"s_access={token()}"
        for method, path in CHANGES:
            answer = await house.client.request(method, path, headers=given)
            assert (answer.status_code == 403) is refused
            assert not refused or answer.json()["code"] == "forbidden"
        assert await status(house, given) == 200


@pytest.mark.parametrize("identity", [Anonymous(), TrustedHeader(LOOPBACK)])
async def test_a_page_of_another_origin_changes_nothing_where_no_cookie_is_needed(
    identity: Identity,
) -> None:
    async with serving(DONE, identity=identity) as house:
        who = {"X-User-ID": "ann"}
        for evil in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            for method, path in CHANGES:
                answer = await house.client.request(method, path, headers=who | evil)
                assert answer.status_code == 403
        assert (await house.client.post("/api/v1/chat", headers=who)).status_code == 201
        mine = who | {"Origin": house.url}
        assert (await house.client.post("/api/v1/chat", headers=mine)).status_code == 201


async def test_a_bearer_needs_no_origin_for_no_browser_adds_one_by_itself() -> None:
    async with serving(identity=by_secret()) as house:
        headers = bearer() | {"Origin": "https://anywhere.example"}
        assert (await house.client.post("/api/v1/chat", headers=headers)).status_code == 201


async def test_an_allowed_origin_may_ask_and_read_everything_it_needs() -> None:
    async with serving(DONE, cors_origins=[OURS]) as house:
        asked = await house.client.options(
            "/api/v1/chat/any/messages",
            headers={
                "Origin": OURS,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type, idempotency-key, authorization",
            },
        )
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == OURS
        assert asked.headers["access-control-allow-credentials"] == "true"
        job = await house.asked()
        for path in (f"/api/v1/chat/{job}/events", "/nowhere", "/api/v1/chat"):
            answer = await house.client.get(path, headers={"Origin": OURS})
            assert answer.headers["access-control-allow-origin"] == OURS
            exposed = answer.headers["access-control-expose-headers"]
            assert set(exposed.split(", ")) == {"Location", "Retry-After", "X-Request-ID"}
            assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize("origins", [[], [OURS]])
async def test_another_origin_may_read_nothing(origins: list[str]) -> None:
    async with serving(DONE, cors_origins=origins) as house:
        evil = {"Origin": "https://evil.example"}
        answer = await house.client.get("/api/v1/chat", headers=evil)
        assert "access-control-allow-origin" not in answer.headers
        asked = await house.client.options(
            "/api/v1/chat", headers=evil | {"Access-Control-Request-Method": "POST"}
        )
        assert "access-control-allow-origin" not in asked.headers


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/docs", "/assets/app.js"]
)
async def test_what_needs_no_identity_asks_for_none(path: str) -> None:
    async with serving(identity=by_secret()) as house:
        assert await status(house, path=path) == 200


async def test_nobody_who_is_unknown_has_a_body_read() -> None:
    async with serving(identity=by_secret()) as house:
        reader, writer = await house.raw(
            "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        )
        assert b" 401 " in await reader.readline()
        writer.close()
