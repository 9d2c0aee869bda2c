"""Redis and PostgreSQL for the tests that want the real ones.

The address given in the environment is used, else the program found on the path; with neither
the test is skipped, which REQUIRE_SERVICES=1 turns into a failure.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.retry import Retry


def missing(what: str) -> None:
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is required and not there")
    pytest.skip(f"{what} is not there")


def found(program: str) -> str | None:
    """On the path, or where Debian keeps PostgreSQL's own."""
    folders = [os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return shutil.which(program, path=os.pathsep.join(folders))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class RedisServer:
    """A Redis of the tests' own: it may be frozen, killed and started again.

    Empty, if `options` say nothing else.
    """

    def __init__(self, *options: str) -> None:
        self._options, self._port = options, free_port()
        self._folder = tempfile.TemporaryDirectory()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        program = found("redis-server")
        assert program is not None
        self.process = subprocess.Popen(
            [
                *(program, "--bind", "127.0.0.1", "--port", str(self._port)),
                *("--save", "", "--appendonly", "no", "--dir", self._folder.name),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_for_redis(self.url)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and commands, and answers none until it wakes."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


def durable_redis() -> RedisServer:
    """One that has everything again which it had when it was killed."""
    return RedisServer("--appendonly", "yes")


def wait_for_redis(url: str) -> None:
    retry = Retry(ConstantBackoff(0.05), 100)
    with Redis.from_url(url, retry=retry, retry_on_error=[Disconnected]) as client:
        client.ping()


@pytest.fixture(scope="session")
def own_redis() -> Iterator[RedisServer]:
    """For tests that freeze, kill or fill it."""
    if found("redis-server") is None:
        missing("redis-server")
    server = RedisServer()
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


class PostgresServer:
    """A PostgreSQL of the tests' own: it may be stopped and started again."""

    def __init__(self) -> None:
        # It refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-pg")
        if self._user is not None:
            shutil.chown(self._folder.name, self._user)
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self._run("initdb", "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder.name} -F"
        self._run("pg_ctl", "-w", "-l", f"{self._folder.name}/log", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "-w", "stop")

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def _run(self, program: str, *arguments: str) -> None:
        path = found(program)
        assert path is not None
        subprocess.run(
            [path, "-D", f"{self._folder.name}/data", *arguments],
            user=self._user,
            cwd=self._folder.name,
            check=True,
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[PostgresServer]:
    """For tests that stop it."""
    if found("initdb") is None or found("pg_ctl") is None:
        missing("PostgreSQL")
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """A real PostgreSQL: every test works in a schema of its own."""
    if given := os.environ.get("SLUICE_TEST_POSTGRES"):
        return given
    server: PostgresServer = request.getfixturevalue("own_postgres")
    return server.url
