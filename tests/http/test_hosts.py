"""Without sign-in only known hosts are answered: a page may rebind its own name to this machine."""

import pytest

from sluice.interfaces.http.hosts import KnownHosts
from tests.http.house import House, serving
from tests.http.test_edge import EVERYWHERE

HOSTS = KnownHosts(["0.0.0.0", "Chat.example.com", "münchen.example".encode("idna").decode()])


async def status(house: House, head: str) -> int:
    reader, writer = await house.raw(f"{head}\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:8000", "localhost.", "app.localhost", "127.0.0.1:1", "127.8.9.1",
        "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "0.0.0.0:8000",
        "chat.example.com", "CHAT.example.com.:443", "xn--mnchen-3ya.example",
    ],
)  # fmt: skip
async def test_a_known_host_is_answered(host: str) -> None:
    async with serving(hosts=HOSTS) as house:
        assert await status(house, f"GET /api/v1/chat HTTP/1.1\r\nHost: {host}") == 200


UNKNOWN = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "evil-localhost", "notlocalhost",
    "10.1.2.3", "[fe80::1]", "chat.example.com.evil.example", "evil.chat.example.com", "",
    "localhost:8000@evil.example", "localhost/", "[::1", "127.0.0.1.evil.example", "localhost ..",
    "localhost, evil.example",
]  # fmt: skip


@pytest.mark.parametrize("host", UNKNOWN)
async def test_any_other_host_is_not(host: str) -> None:
    async with serving(hosts=HOSTS) as house:
        for version in ("1.0", "1.1"):
            assert await status(house, f"GET /api/v1/chat HTTP/{version}\r\nHost: {host}") == 421


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", EVERYWHERE)
async def test_a_page_that_rebinds_its_name_reaches_nothing(path: str, method: str) -> None:
    """The browser sends the page's own host, and says that it is of the same origin."""
    async with serving(hosts=HOSTS, cors_origins=["https://ours.example"]) as house:
        evil = f"evil.example:{house.port}"
        answer = await house.client.request(
            method,
            path,
            headers={
                "Host": evil,
                "Origin": f"http://{evil}",
                "Sec-Fetch-Site": "same-origin",
                "X-Forwarded-Host": "localhost",
                "Forwarded": "host=localhost",
                "Access-Control-Request-Method": "POST",
            },
        )
        assert answer.status_code == 421
        assert answer.headers["x-content-type-options"] == "nosniff"
        if method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert (problem["status"], problem["code"]) == (421, "unknown_host")
            assert problem["request_id"] == answer.headers["x-request-id"]


async def test_http_1_0_may_leave_the_host_out_and_http_1_1_may_not() -> None:
    async with serving(hosts=HOSTS) as house:
        assert await status(house, "GET /healthz HTTP/1.0") == 200
        assert await status(house, "GET /healthz HTTP/1.1") == 421


async def test_every_host_that_a_request_names_must_be_known() -> None:
    async with serving(hosts=HOSTS) as house:
        head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: {}"
        assert await status(house, head.format("evil.example")) == 421
        head = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\nHost: {}"
        assert await status(house, head.format("localhost")) == 421


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("http://evil.example/healthz", "localhost", 421),
        ("http://localhost@evil.example/healthz", "localhost", 421),
        ("http://localhost:8000/healthz", "evil.example", 200),
        ("http://[::1]:8000/healthz", "evil.example", 200),
    ],
)
async def test_a_target_in_absolute_form_says_which_host_is_meant(
    target: str, host: str, expected: int
) -> None:
    async with serving(hosts=HOSTS) as house:
        assert await status(house, f"GET {target} HTTP/1.1\r\nHost: {host}") == expected


def test_the_address_that_a_request_came_to_is_known() -> None:
    """As a load balancer checks a service that listens on every address."""
    known = KnownHosts(["0.0.0.0"])
    scope = {"http_version": "1.1", "server": ("::ffff:10.1.2.3", 8000)}
    assert known.know(scope | {"headers": [(b"host", b"10.1.2.3:8000")]})
    assert not known.know(scope | {"headers": [(b"host", b"10.1.2.4:8000")]})
    assert not known.know(scope | {"headers": [(b"host", b"evil.example")]})


async def test_where_hosts_are_not_checked_any_is_answered() -> None:
    async with serving() as house:
        assert await status(house, "GET /healthz HTTP/1.1\r\nHost: evil.example") == 200
