"""Redis as every adapter uses it: its failures are Unavailable, its hot commands raw bytes.

Deliberate divergence: what is sent per token does not go through redis-py's command objects,
which cost more than everything else there. It is packed here and sent over a connection of
redis-py's, many commands at once.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected

from sluice.domain.errors import Unavailable

_ANSWERS_WITHIN_S = 3
"""A Redis that hangs is a Redis that is down."""
_CONNECTIONS = 32
"""Of one process; who finds them all in use waits."""

_REFUSALS: Mapping[type[Exception], str] = {
    AuthenticationError: "Redis refuses the password",
    NoPermissionError: "Redis refuses the user a command",
    OutOfMemoryError: "Redis is full",
    ReadOnlyError: "Redis takes no writes, as a replica does",
    BusyLoadingError: "Redis is still loading",
    ResponseError: "Redis refuses a command",
}

Word = bytes | str | int | float


def _unavailable(error: Exception) -> Unavailable:
    """Says what to mend, in words of our own: an exception's text may hold anything."""
    told = (told for kind, told in _REFUSALS.items() if isinstance(error, kind))
    return Unavailable(next(told, "Redis cannot be reached"))


@asynccontextmanager
async def outages(within_s: float = _ANSWERS_WITHIN_S) -> AsyncGenerator[None, None]:
    """Whatever keeps Redis from doing its work, or from doing it in time, is Unavailable."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except (RedisError, OSError) as error:
        raise _unavailable(error) from error


class _ClosedAtOnce(Connection):
    """Closed as soon as Redis closes or resets it, and from then on not connected.

    redis-py notices when it uses it again. Until then it would hold a descriptor, in a pool for
    good, and uvloop refuses to write to one that was reset with a RuntimeError.
    """

    _reader: Any
    _writer: Any

    @property
    def is_connected(self) -> bool:
        return super().is_connected and not self._writer.is_closing()

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]
        # As asyncio has it, it would ask to be left half open.
        self._writer.transport.get_protocol().eof_received = self._reader.feed_eof

    async def disconnect(self, *how: Any, **why: Any) -> None:
        await super().disconnect(*how, **why)
        self._reader = self._writer = None  # else one that was closed would be told as left open


class _EncryptedClosedAtOnce(_ClosedAtOnce, SSLConnection):
    pass


_CLOSED_AT_ONCE: Mapping[Any, type[Connection]] = {
    Connection: _ClosedAtOnce,
    SSLConnection: _EncryptedClosedAtOnce,
}


class RedisClient:
    """One Redis. Commands are repeated when a connection breaks: all of ours may be."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # its commands are not typed
        self._scripts: dict[str, AsyncScript] = {}

    @classmethod
    def at(cls, url: str) -> Self:
        """Without I/O. Raises ValueError for what is no address, TypeError for unknown options."""
        retry = Retry(
            ExponentialBackoff(cap=0.2, base=0.02), retries=3, supported_errors=(Disconnected,)
        )
        pool = BlockingConnectionPool.from_url(
            url,
            protocol=2,
            retry=retry,
            socket_timeout=None,  # with one, redis-py's use of wait_for swallows cancellations
            socket_connect_timeout=_ANSWERS_WITHIN_S,
            max_connections=_CONNECTIONS,
            timeout=_ANSWERS_WITHIN_S,
            driver_info=None,  # saves two commands a connection
        )
        pool.connection_class = _CLOSED_AT_ONCE[pool.connection_class]
        pool.make_connection()  # type: ignore[no-untyped-call]
        return cls(Redis.from_pool(pool))

    async def ask(self, *command: Word) -> Any:
        async with outages():
            return await self._client.execute_command(*command)

    async def ask_all(self, commands: Iterable[Sequence[Word]]) -> list[Any]:
        async with outages(), self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = await pipe.execute()
        return answers

    async def run(self, script: str, keys: Sequence[bytes | str], *arguments: Word) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._client.register_script(script)
        async with outages():
            return await self._scripts[script](keys, arguments)

    async def check(self) -> None:
        """Raises Unavailable, saying why, unless it takes writes and keeps what is not over."""
        await self.ask("SET", "sluice:check", "", "EX", 60)
        async with outages():
            try:
                memory = await self._client.info("memory")
                cluster = await self._client.info("cluster")
            except ResponseError:  # some providers do not tell
                return
        if cluster.get("cluster_enabled"):
            raise Unavailable("Redis is a cluster, where no command may read many streams at once")
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise Unavailable(f"Redis may evict running jobs: maxmemory-policy is {policy}")

    async def listen(self, channel: str) -> AsyncGenerator[bytes, None]:
        """What is published from now on, an empty message first. Raises Unavailable."""
        try:
            async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(channel)
                yield b""
                async for message in pubsub.listen():
                    yield message["data"]
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    def connection(self) -> "RedisConnection":
        return RedisConnection(self._client)

    async def aclose(self) -> None:
        await self._client.aclose()


class RedisConnection:
    """A connection of one user's own, that survives its breaks."""

    def __init__(self, client: Redis) -> None:
        pool: Any = client.connection_pool
        self._connection = pool.make_connection()

    async def ask(
        self, commands: bytes, replies: int, *, within_s: float = _ANSWERS_WITHIN_S
    ) -> list[Any]:
        """The replies in order, a refusal being one of them.

        Raises Unavailable when any is missing: then some commands may have been obeyed.
        """
        connection = self._connection
        try:
            async with outages(within_s):
                if not connection.is_connected:
                    await connection.connect()
                await connection.send_packed_command(commands, check_health=False)
                return [await self._reply() for _ in range(replies)]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as refusal:
            return refusal

    async def aclose(self) -> None:
        await self._connection.disconnect()


def packed(*parts: bytes) -> bytes:
    """The parts as Redis reads them, for use in a command."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def command(parts: int, *packed_parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (parts, b"".join(packed_parts))
