"""What the routes need, handed to `create_app` by the entry point."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, Request

from sluice.application.answer_input import AnswerInput
from sluice.application.chat_ports import ChatPort, SessionPort
from sluice.application.chats import DeleteChat, ShowChat
from sluice.application.export import ExportOutcomes
from sluice.application.follow import FollowJob
from sluice.application.jobs import CancelJob, ShowJob
from sluice.application.rollout_changes import SetShare, ShowRollout, StartPlan, SteerPlan
from sluice.application.sessions import Sessions
from sluice.application.side_calls import AskModel
from sluice.application.submit import SubmitMessage
from sluice.interfaces.http.asked import Asked
from sluice.interfaces.http.auth.identity import Forwarded, Identity, User
from sluice.interfaces.http.hosts import KnownHosts


@dataclass(frozen=True, slots=True)
class Services:
    """`ready` says why the service is not ready; `metrics` is Prometheus text.

    `ask_model` is None where no upstream is known. `leaving`: no stream is to be kept open for
    what may still be asked.
    """

    submit: SubmitMessage
    follow: FollowJob
    show_job: ShowJob
    cancel: CancelJob
    answer_input: AnswerInput
    show_chat: ShowChat
    delete_chat: DeleteChat
    sessions: Sessions
    chats: ChatPort
    names: SessionPort
    show_rollout: ShowRollout
    set_share: SetShare
    start_plan: StartPlan
    steer_plan: SteerPlan
    export_outcomes: ExportOutcomes
    ready: Callable[[], Awaitable[str | None]]
    metrics: Callable[[], Awaitable[bytes]]
    leaving: Callable[[], bool]
    ask_model: AskModel | None = None
    asked: Asked = field(default_factory=Asked)


@dataclass(slots=True, eq=False)
class StreamStats:
    """Plain counts for the metrics; `open` is how many streams there are now.

    `resets` are those made for a reader whose cursor the log does not hold, `stalled` the
    connections that were cut because nobody read them, `expired` the streams that outlived
    their reader's identity.
    """

    open: int = 0
    resumes: int = 0
    resets: int = 0
    stalled: int = 0
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Options:
    """`models`: what a request may name, None for any. `web`: the folder of the page.

    `offline`: the bundled offline model answers, and the page says so. `hosts`: None for any.

    `admins`: who may turn the share; None for whoever is on this machine. `path_header`: a request
    may choose its job's path.
    """

    identity: Identity
    web: Path
    models: frozenset[str] | None = frozenset()
    offline: bool = False
    max_message_bytes: int = 65536
    hosts: KnownHosts | None = None
    forwarded: Forwarded = field(default_factory=Forwarded)
    side_calls: Literal["model", "refuse", "pipeline"] = "model"
    cors_origins: Collection[str] = ()
    admins: Collection[str] | None = ()
    path_header: bool = False
    ping: float = 10
    streams: StreamStats = field(default_factory=StreamStats)

    @property
    def max_body_bytes(self) -> int:
        """Any message that is not too large fits, even with every byte written as an escape."""
        return 6 * self.max_message_bytes + 16 * 1024


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _options(request: Request) -> Options:
    options: Options = request.app.state.options
    return options


async def _user(request: Request) -> User:
    user: User = request.scope["state"]["user"]  # as `request.state`, which costs four calls
    return user


async def _request_id(request: Request) -> str:
    request_id: str = request.scope["state"]["request_id"]
    return request_id


ServicesDep = Annotated[Services, Depends(_services)]
OptionsDep = Annotated[Options, Depends(_options)]
UserDep = Annotated[User, Depends(_user)]
RequestIdDep = Annotated[str, Depends(_request_id)]
