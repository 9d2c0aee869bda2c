"""The application on a real socket in the test's own loop, over doubles that need no service."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import uvicorn
from fastapi import APIRouter, FastAPI
from uvicorn.server import ServerState

from sluice.application.answer_input import AnswerInput
from sluice.application.chats import DeleteChat, ShowChat
from sluice.application.deliveries import Deliveries
from sluice.application.encoding import Batch, Encoder, Handed, Push
from sluice.application.export import ExportOutcomes
from sluice.application.follow import FollowJob
from sluice.application.jobs import CancelJob, ShowJob
from sluice.application.metrics import JobMetrics
from sluice.application.pauses import Pauses
from sluice.application.ports import FlagPort
from sluice.application.process_chat import ProcessChat
from sluice.application.rollout import ControlShare, RolloutFlag
from sluice.application.rollout_changes import SetShare, ShowRollout, StartPlan, SteerPlan
from sluice.application.scheduling import Bounds
from sluice.application.sessions import Sessions
from sluice.application.side_calls import AskModel
from sluice.application.submit import SubmitMessage
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Unavailable
from sluice.domain.events import QUEUED, Cursor, Done, Recorded, StageCompleted, StageStarted, Token
from sluice.domain.rollout import Share
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.json_schema import check_value
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.interfaces.http.app import create_app
from sluice.interfaces.http.auth.identity import Anonymous, Identity
from sluice.interfaces.http.server.connection import connections
from sluice.interfaces.http.services import Options, Services, StreamStats
from sluice.interfaces.protocols.native.encoder import frame
from sluice.interfaces.protocols.served import PROTOCOLS
from tests.doubles import FixedFlag, MockPipeline
from tests.waiting import until

WEB = Path(__file__).parents[2] / "interfaces" / "web"
DONE = Done("A2", "")
STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100)
WORDS = [Token(word, "answer") for word in ("무색 ", "페트병", "은 ", "data: x\n\nevent: done\r\n")]
ANSWER = "".join(token.content for token in WORDS)
TOLD = (STARTED, *WORDS, COMPLETED, Done("A2", ANSWER))
_FRAME = re.compile(
    rb"(?:event: (?P<event>[a-z_]+)\n(?:id: (?P<id>[0-9]+-[0-9]+)\n)?data: (?P<data>[^\n]*)\n"
    rb"|retry: (?P<retry>[0-9]+)\n)\n"
)


class Frame(NamedTuple):
    event: str
    id: str | None
    data: Any


class FailingLog(MemoryEventLog):
    """Raises `failure` when it is asked, and `breaking` once it is iterated.

    `unfollowable` raises when it is followed, and not when it is asked for a job.
    """

    failure: Exception | None = None
    breaking: Exception | None = None
    unfollowable: bool = False

    async def job(self, job_id: JobId) -> Job:
        if self.failure is not None:
            raise self.failure
        return await super().job(job_id)

    async def follow_encoded(
        self,
        job_id: JobId,
        *,
        after: Cursor | None,
        encoder: Encoder,
        skip: int = 0,
        push: Push | None = None,
        handed: Handed | None = None,
    ) -> AsyncGenerator[Batch, None]:
        if self.unfollowable:
            raise Unavailable("the address of the store")
        if self.breaking is not None:
            return _broken(self.breaking)
        return await super().follow_encoded(
            job_id, after=after, encoder=encoder, skip=skip, push=push, handed=handed
        )

    @property
    def awaited(self) -> bool:
        """Whether a reader has all there is, and waits."""
        return any(log._waiting for log in self._logs.values())


async def _broken(error: Exception) -> AsyncGenerator[Batch, None]:
    recorded = Recorded(Cursor(1, 1), QUEUED)
    yield Batch([recorded], frame(recorded), 1)
    raise error


@dataclass(slots=True, eq=False)
class House:
    url: str
    client: httpx2.AsyncClient
    log: FailingLog
    pipeline: MockPipeline
    flag: FixedFlag
    follow: FollowJob
    deliveries: Deliveries
    outcomes: SqliteOutcomes
    state: ServerState
    streams: StreamStats
    unready: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return httpx2.URL(self.url).port or 0

    async def ask(self, message: str = "Why?", **fields: Any) -> dict[str, Any]:
        answer = await self.client.post("/api/v1/chat", json={"message": message, **fields})
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def asked(self, message: str = "Why?", **fields: Any) -> str:
        """The id of a job that is over."""
        job: str = (await self.ask(message, **fields))["job_id"]
        await self.read(job)
        return job

    async def read(self, job: str, **request: Any) -> list[Frame]:
        """The whole stream, which ends by itself."""
        answer = await self.client.get(f"/api/v1/chat/{job}/events", **request)
        assert answer.status_code == 200, answer.text
        return frames(answer.content)

    async def raw(self, request: str | bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request if isinstance(request, bytes) else request.encode())
        await writer.drain()
        return reader, writer


@asynccontextmanager
async def serving(
    *plays: Any,
    identity: Identity | None = None,
    bounds: Bounds | None = None,
    streams: int | None = None,
    timeout: float = 30,
    routers: Sequence[APIRouter] = (),
    ask_model: AskModel | None = None,
    share: Share | None = None,
    input_timeout: float = 60,
    **options: Any,
) -> AsyncIterator[House]:
    """A house whose pipeline plays `plays` for every job.

    `routers`: the routes of protocols beside our own. `share`: what the environment says of the
    rollout, which then decides instead of the fixed flag.
    """
    log, pipeline, flag, counts = FailingLog(), MockPipeline(*plays), FixedFlag(), JobMetrics()
    database = SqliteDatabase(":memory:")
    await database.open()
    chats = SqliteChats(database)
    kept = SqlitePauses(database)
    pauses = Pauses(kept, log, timeout=input_timeout)
    process = ProcessChat(pipeline, log, chats, counts, pauses)
    queue = InlineJobQueue(process, bounds or Bounds())
    readers = CancelUnread(queue, log)
    unready: list[str] = []
    outcomes = SqliteOutcomes(database)
    deliveries = Deliveries(outcomes, counts, retention=60)
    changes = SqliteShareChanges(database)
    control = ControlShare(changes)
    rollout = RolloutFlag(share or Share(0), [control])
    decides: FlagPort = flag if share is None else rollout

    async def ready() -> str | None:
        return unready[0] if unready else None

    async def metrics() -> bytes:
        return b"sluice_open_streams 0.0\n"

    names, keys = SqliteSessions(database), SqliteIdempotency(database)
    show_chat = ShowChat(chats, log)
    services = Services(
        submit=SubmitMessage(chats, names, keys, log, queue, decides, readers),
        follow=FollowJob(log, readers, counts, deliveries, streams=streams),
        show_job=ShowJob(log, kept),
        cancel=CancelJob(log, queue),
        answer_input=AnswerInput(kept, log, queue, check_value),
        show_chat=show_chat,
        delete_chat=DeleteChat(chats, log, queue),
        sessions=Sessions(names, keys, show_chat, log, queue),
        chats=chats,
        names=names,
        show_rollout=ShowRollout(rollout, control, changes, outcomes),
        set_share=SetShare(rollout, control, changes),
        start_plan=StartPlan(rollout, control, changes, outcomes),
        steer_plan=SteerPlan(rollout, control, changes),
        export_outcomes=ExportOutcomes(outcomes),
        ready=ready,
        metrics=metrics,
        leaving=lambda: log._leaving,
        ask_model=ask_model,
    )
    given = Options(identity=identity or Anonymous(), web=WEB, **options)
    state = ServerState()
    protocol = connections(given.streams, timeout=timeout)
    app = create_app(services, given, *PROTOCOLS.values(), *routers)
    async with aclosing(database), listening(app, state, protocol) as url:
        # Without `verify=False` every client would load the system's certificates.
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=5, verify=False
        ) as client:
            yield House(
                url, client, log, pipeline, flag, services.follow, deliveries, outcomes, state,
                given.streams, unready,
            )  # fmt: skip
            log.hang_up()
        await queue.drain(0)
        await until(lambda: not state.tasks)


@asynccontextmanager
async def listening(
    app: FastAPI, state: ServerState, protocol: type[asyncio.Protocol]
) -> AsyncIterator[str]:
    config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, proxy_headers=False)
    config.load()

    def connection() -> asyncio.Protocol:
        made: asyncio.Protocol = protocol(config=config, server_state=state, app_state={})  # type: ignore[call-arg]
        return made

    loop = asyncio.get_running_loop()
    assert type(loop).__module__ == "uvloop", "another suite's fixture keeps its own loop open"
    server = await loop.create_server(connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for open_connection in list(state.connections):
            open_connection.shutdown()
        await until(lambda: not state.connections)


def frames(body: bytes) -> list[Frame]:
    """Strict: what is not exactly the contract's form fails. `retry` lines are left out."""
    found, end = [], 0
    for match in _FRAME.finditer(body):
        assert match.start() == end, body[end : match.start()]
        end = match.end()
        if match["event"]:
            event_id = match["id"].decode() if match["id"] else None
            found.append(Frame(match["event"].decode(), event_id, json.loads(match["data"])))
    assert end == len(body), body[end:]
    return found


def text(events: Sequence[Frame]) -> str:
    """What a reader has after these events."""
    pieces: list[str] = []
    for event in events:
        if event.event == "reset":
            pieces.clear()
        elif event.event == "token":
            pieces.append(event.data["content"])
    return "".join(pieces)


def path(job: str) -> str:
    return f"/api/v1/chat/{job}/events"
