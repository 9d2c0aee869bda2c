"""Redis and PostgreSQL for the tests that want the real ones.

The address given in the environment is used, else the program found on the path; with neither
the test is skipped, which REQUIRE_SERVICES=1 turns into a failure.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.retry import Retry


def missing(what: str) -> None:
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is required and not there")
    pytest.skip(f"{what} is not there")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """A Redis of the tests' own: it may be frozen, killed and started again, empty."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self._program, "--bind", "127.0.0.1", "--port", str(self._port)),
                *("--save", "", "--appendonly", "no", "--dir", self._folder.name),
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_for_redis(self.url)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


def wait_for_redis(url: str) -> None:
    retry = Retry(ConstantBackoff(0.05), 100)
    with Redis.from_url(url, retry=retry, retry_on_error=[Disconnected]) as client:
        client.ping()


@pytest.fixture(scope="session")
def own_redis() -> Iterator[RedisServer]:
    """For tests that freeze, kill or fill it."""
    program = shutil.which("redis-server")
    if program is None:
        missing("redis-server")
    assert program is not None
    server = RedisServer(program)
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server_url(request: pytest.FixtureRequest) -> str:
    if given := os.environ.get("SLUICE_TEST_REDIS"):
        return given
    server: RedisServer = request.getfixturevalue("own_redis")
    return server.url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """A real Redis with nothing in it."""
    with suppress(Disconnected), Redis.from_url(redis_server_url) as client:
        client.flushdb()
    return redis_server_url
