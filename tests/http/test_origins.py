"""Pages of other origins: what they may change, and what they may read."""

import pytest

from sluice.interfaces.http.auth.identity import Anonymous, Identity, TrustedHeader
from tests.http.house import DONE, serving
from tests.http.who import LOOPBACK, bearer, by_secret, status, token

OURS = "https://ours.example"


ALLOWED = (
    "content-type, authorization, idempotency-key, last-event-id,"
    " x-api-key, x-run-id, x-auth-scheme, x-request-id"
)
EXPOSED = {
    "Content-Location", "Location", "Retry-After", "X-Request-ID", "X-Sluice-Job",
}  # fmt: skip
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
        ({"Origin": "http://["}, True),
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
                "Access-Control-Request-Headers": ALLOWED,
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
            assert set(exposed.split(", ")) == EXPOSED
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
