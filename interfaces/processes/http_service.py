"""What an embedded service and a gateway have in common: they serve HTTP over a container."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import uvicorn
from fastapi import APIRouter

from sluice.application.ports import nothing
from sluice.domain.errors import Unavailable
from sluice.infrastructure.composition.base import Base
from sluice.infrastructure.composition.values import OFFLINE_MODEL
from sluice.infrastructure.settings import Settings
from sluice.infrastructure.telemetry.loop_watch import LoopWatch
from sluice.infrastructure.telemetry.prometheus import (
    BLOCKED,
    RUNNING,
    TASKS,
    Metrics,
    Name,
    Reading,
)
from sluice.interfaces.http.app import create_app
from sluice.interfaces.http.hosts import KnownHosts
from sluice.interfaces.http.server.connection import connections
from sluice.interfaces.http.server.uvicorn_server import UvicornServer
from sluice.interfaces.http.services import Options, Services, StreamStats
from sluice.interfaces.processes.identity import forwarded_of, identity_of
from sluice.interfaces.protocols.served import routers

logger = logging.getLogger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises Unavailable, saying why."""


class Counts(Protocol):
    """A queue's jobs."""

    @property
    def running(self) -> int: ...

    @property
    def queued(self) -> int: ...


class HttpService:
    """`drain` lets no new job in; `checks` say why questions cannot be taken, if they cannot.

    `count` is awaited before metrics are told: `jobs` may not count them where they happen.
    """

    def __init__(
        self,
        container: Base,
        watch: LoopWatch,
        jobs: Counts,
        *,
        drain: Callable[[], Awaitable[None]],
        checks: Sequence[Check],
        count: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        self._container, self._watch, self._jobs = container, watch, jobs
        self._drain_jobs, self._checks, self._count = drain, checks, count
        self._streams = StreamStats()
        self._server: UvicornServer | None = None

    def server(self, *, cut: int, signalled: Callable[[], None]) -> UvicornServer:
        config = uvicorn.Config(
            create_app(self._services(), self._options(), *self._protocols()),
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
        self._server = UvicornServer(config, self._drain, signalled)
        return self._server

    def _protocols(self) -> list[APIRouter]:
        return routers(self._container.settings().protocols)

    @property
    def share(self) -> float:
        """Percent of users who take A2 now."""
        return self._container.flag().flag.share

    async def trouble(self) -> str | None:
        """Why it is not ready, if it is not."""
        if self._server is not None and self._server.leaving:
            return "the service is shutting down"
        told = await asyncio.gather(*(_trouble(check) for check in self._checks))
        return "; ".join(dict.fromkeys(filter(None, told))) or None

    async def _drain(self) -> None:
        logger.info("leaving: no new jobs, %d streams are open", self._streams.open)
        await self._drain_jobs()
        self._container.log().hang_up()

    def _services(self) -> Services:
        container = self._container
        metrics = Metrics(container.metrics(), self._gauges(), self._counters(), container.guard())

        async def text() -> bytes:
            await self._count()
            return metrics.text()

        return Services(
            submit=container.submit(),
            follow=container.follow(),
            show_job=container.show_job(),
            cancel=container.cancel(),
            answer_input=container.answer_input(),
            show_chat=container.show_chat(),
            delete_chat=container.delete_chat(),
            sessions=container.named(),
            chats=container.chats(),
            names=container.sessions(),
            show_rollout=container.show_rollout(),
            set_share=container.set_share(),
            start_plan=container.start_plan(),
            steer_plan=container.steer_plan(),
            export_outcomes=container.export_outcomes(),
            ready=self.trouble,
            metrics=text,
            ask_model=None if self._upstreamless else container.ask_model(),
            leaving=lambda: self._server is not None and self._server.leaving,
        )

    @property
    def _upstreamless(self) -> bool:
        """A gateway whose workers have a model of their own, the offline one."""
        container = self._container
        return container.settings().offline and container.offline_url() is None

    def _options(self) -> Options:
        settings = self._container.settings()
        return Options(
            identity=identity_of(settings),
            web=Path(__file__).parent.parent / "web",
            models=models_of(settings),
            offline=self._container.offline(),
            max_message_bytes=settings.max_message_bytes,
            hosts=hosts_of(settings),
            forwarded=forwarded_of(settings),
            side_calls=settings.side_calls,
            cors_origins=settings.cors_origins,
            admins=None if settings.auth == "none" else settings.admins,
            path_header=settings.allow_path_header,
            streams=self._streams,
        )

    def _gauges(self) -> Mapping[Name, Reading]:
        jobs, streams, rollout = self._jobs, self._streams, self._container.flag()
        return {
            ("open_streams", "Event streams open now"): lambda: streams.open,
            RUNNING: lambda: jobs.running,
            ("jobs_queued", "Jobs waiting for a place"): lambda: jobs.queued,
            TASKS: lambda: len(asyncio.all_tasks()),
            ("rollout_share", "Percent of users who take A2"): lambda: rollout.flag.share,
            ("rollout_stale", "1 while whoever set the share cannot be asked"): lambda: (
                rollout.flag.reason == "stale"
            ),
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


def hosts_of(settings: Settings) -> KnownHosts | None:
    """With sign-in any: a page that rebinds its name has nobody's identity to show."""
    if settings.auth != "none":
        return None
    return KnownHosts([settings.host, *settings.allowed_hosts])
