"""The embedded service: one process that serves, runs jobs and keeps them.

A gateway is the same service over other stores, without a job of its own.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import uvicorn

from sluice.domain.errors import Unavailable
from sluice.infrastructure.container import OFFLINE_MODEL, Container, build_every_path
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.telemetry.loop_watch import LoopWatch
from sluice.infrastructure.telemetry.metrics import BLOCKED, RUNNING, TASKS, Metrics, Name, Reading
from sluice.interfaces.http.app import create_app
from sluice.interfaces.http.auth.identity import Anonymous, Identity, TrustedHeader
from sluice.interfaces.http.auth.jwt import Keys, KeySet, SharedSecret, TokenIdentity, read_keys
from sluice.interfaces.http.server.connection import connections
from sluice.interfaces.http.server.uvicorn_server import Server
from sluice.interfaces.http.services import Options, Services, StreamStats

logger = logging.getLogger(__name__)

_LONG_ENOUGH = 32
"""Bytes of a key for HS256, as RFC 7518 has it."""

Check = Callable[[], Awaitable[None]]
"""Raises Unavailable, saying why."""


class Service:
    """Opened before it serves, closed after: everything that has to be is on one stack."""

    def __init__(self, settings: Settings, offline_url: str | None) -> None:
        self._settings = settings
        self._container = Container(settings=settings, offline_url=offline_url)
        self._server: Server | None = None
        self._watch = LoopWatch()
        self._streams = StreamStats()
        self._stack = AsyncExitStack()
        self._checks: list[Check] = []
        """Each says why the service cannot take questions, if it cannot."""

    async def __aenter__(self) -> Self:
        """Raises WrongSetting for a graph, a folder or a store that cannot be used."""
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._watch.start()
            stack.callback(self._watch.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> None:
        container = self._container
        container.instrumentor().instrument()
        stack.push_async_callback(container.instrumentor().uninstrument)
        build_every_path(container)
        database = container.database()
        try:
            await database.open()
        except ValueError as error:
            raise WrongSetting(f"SLUICE_STORE: {error}") from error
        stack.push_async_callback(database.aclose)
        log = container.log()
        self._checks = [log.check]
        if url := self._settings.database:
            from sluice.infrastructure.cluster import chats_in_postgres

            chats = await stack.enter_async_context(chats_in_postgres(container, url))
            self._checks.append(chats.check)
        await log.open()
        stack.push_async_callback(log.aclose)
        stack.push_async_callback(container.completions().aclose)
        try:
            unfinished = await log.unfinished()
        except Unavailable as error:
            raise WrongSetting(f"SLUICE_STORE: {error}") from error
        container.queue().resume(unfinished)
        for job in unfinished:
            logger.info("job %s goes on where it was left", job.id)
            container.orphans().submitted(job.id)

    def server(self, listener: socket.socket, *, cut: int) -> Server:
        config = uvicorn.Config(
            create_app(self._services(), self._options()),
            http=connections(self._streams),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=cut,
        )
        self._server = Server(config, self._drain)
        return self._server

    async def _drain(self) -> None:
        """Streams stay while their job runs, within the grace; then each ends properly."""
        logger.info("leaving: no new jobs, %d streams are open", self._streams.open)
        await self._container.queue().drain(self._settings.shutdown_grace)
        self._container.log().hang_up()

    def _leaving(self) -> bool:
        return self._server is not None and self._server.leaving

    async def _ready(self) -> str | None:
        if self._leaving():
            return "the service is shutting down"
        told = await asyncio.gather(*(_trouble(check) for check in self._checks))
        return "; ".join(dict.fromkeys(filter(None, told))) or None

    def _services(self) -> Services:
        container = self._container
        return Services(
            submit=container.submit(),
            follow=container.follow(),
            show_job=container.show_job(),
            cancel=container.cancel(),
            show_chat=container.show_chat(),
            delete_chat=container.delete_chat(),
            conversations=container.conversations(),
            ready=self._ready,
            metrics=self._told_of(Metrics(container.tally(), self._gauges(), self._counters())),
        )

    def _told_of(self, metrics: Metrics) -> Callable[[], Awaitable[bytes]]:
        async def text() -> bytes:
            await self._count()
            return metrics.text()

        return text

    async def _count(self) -> None:
        """Before metrics are told; here everything is counted where it happens."""

    def _options(self) -> Options:
        settings = self._settings
        return Options(
            identity=identity_of(settings),
            web=Path(__file__).parent.parent / "web",
            models=models_of(settings),
            offline=self._container.offline(),
            max_message_bytes=settings.max_message_bytes,
            cors_origins=settings.cors_origins,
            streams=self._streams,
        )

    def _gauges(self) -> Mapping[Name, Reading]:
        queue, streams = self._container.queue(), self._streams
        return {
            ("open_streams", "Event streams open now"): lambda: streams.open,
            RUNNING: lambda: queue.running,
            ("jobs_queued", "Jobs waiting for a place"): lambda: queue.queued,
            TASKS: lambda: len(asyncio.all_tasks()),
        }

    def _counters(self) -> Mapping[Name, Reading]:
        streams, watch = self._streams, self._watch
        return {
            ("resumes", "Streams that began at a cursor"): lambda: streams.resumes,
            ("resets", "Cursors that no log held"): lambda: streams.resets,
            ("stalled_readers", "Readers cut off because they did not read"): lambda: (
                streams.stalled
            ),
            ("expired_streams", "Streams that outlived their identity"): lambda: streams.expired,
            BLOCKED: lambda: watch.blocked,
        }


async def _trouble(check: Check) -> str | None:
    try:
        await check()
    except Unavailable as error:
        return str(error)
    return None


def models_of(settings: Settings) -> frozenset[str] | None:
    """What a request may name; None for anything."""
    if "*" in settings.models:
        return None
    return frozenset({*settings.models, settings.openai_model or OFFLINE_MODEL})


def identity_of(settings: Settings) -> Identity:
    if settings.auth == "trusted-header":
        return TrustedHeader(settings.trusted_proxies)
    if settings.auth == "jwt":
        return TokenIdentity(
            *keys_of(settings), audience=settings.jwt_audience, issuer=settings.jwt_issuer
        )
    return Anonymous()


def keys_of(settings: Settings) -> Iterator[Keys]:
    """Raises WrongSetting for a key set in a file that cannot be used; a URL may come up later."""
    if secret := settings.jwt_secret:
        if len(secret.encode()) < _LONG_ENOUGH:
            logger.warning("SLUICE_JWT_SECRET is short: who has a token can guess it")
        yield SharedSecret(secret)
    if source := settings.jwt_jwks:
        if "://" not in source:
            try:
                read_keys(source)
            except Unavailable as error:
                raise WrongSetting(f"SLUICE_JWT_JWKS: {error}") from error
        yield KeySet(source)
