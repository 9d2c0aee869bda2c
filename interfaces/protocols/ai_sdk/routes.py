"""`useChat`'s routes: ask, come back, stop. A chat's id is its session within the user."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from starlette.responses import PlainTextResponse, Response

from sluice.application.chats import ChatView
from sluice.application.submit import NewMessage
from sluice.domain.chat import JobId, UserId, now
from sluice.domain.errors import Conflict, NotFound
from sluice.domain.events import Cursor
from sluice.interfaces.http.following import FollowingDep
from sluice.interfaces.http.json_request import HistoryRoute
from sluice.interfaces.http.models import Question
from sluice.interfaces.http.problems import Problem
from sluice.interfaces.http.routes.messages import check_question
from sluice.interfaces.http.routes.parameters import IdempotencyKey
from sluice.interfaces.http.services import (
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.protocols.ai_sdk.encoder import compatible_encoder_for, encoder_for
from sluice.interfaces.protocols.ai_sdk.requests import Approval, ChatRequest
from sluice.interfaces.protocols.pauses import closing_of, pauses_in, verdict


class ChatRoute(HistoryRoute):
    """A problem is its text: `useChat` makes the whole body its error's message."""

    def told(self, problem: Problem, _request_id: str) -> Response:
        return PlainTextResponse(problem.detail, problem.status_code, problem.headers)


routes = APIRouter(include_in_schema=False, route_class=ChatRoute)

_REPLAYED_FOR = timedelta(minutes=2)
"""After its end: who was away in that moment would else keep a short text for good."""

_NOTHING_WAITS = "nothing in this chat waits for that approval"

Session = Annotated[str, Path(alias="id", min_length=1, max_length=128)]
Compat = Literal["5", "6"] | None
"""The major version of `ai`, if it is an older one."""


@routes.post("/api/chat")
async def chat(
    body: ChatRequest,
    following: FollowingDep,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
    compat: Compat = None,
    key: IdempotencyKey = None,
) -> Response:
    """Ask, approve what a job asks, or have the last answer made anew: its stream."""
    if approvals := body.approvals():
        with following.reserve():
            job_id, last = await _approved(services, user.id, body.id, approvals)
            return await _stream(following, job_id, compat, last)
    question = Question(message=body.question(), model=body.model, metadata=body.metadata)
    check_question(question, options)
    again = body.retried(await _found(services, user.id, body.id))
    new = NewMessage(
        user=user.id,
        request_id=request_id,
        session=body.id,
        message=question.message if again is None else None,
        retry_of=again,
        idempotency_key=key,
        sticky=user.sticky,
        **question.model_dump(exclude={"message"}),
    )
    with following.reserve():
        accepted = await services.submit(new)
        return await _stream(following, accepted.job_id, compat)


@routes.get("/api/chat/{id:path}/stream")
async def resume(
    session: Session,
    following: FollowingDep,
    services: ServicesDep,
    user: UserDep,
    compat: Compat = None,
) -> Response:
    """The chat's job from its beginning, if it runs or has just ended."""
    view = await _found(services, user.id, session)
    job_id = None if view is None else await _current(services, user.id, view)
    if job_id is None:
        return Response(status_code=204)
    return await _stream(following, job_id, compat)


@routes.post("/api/chat/{id:path}/stop", status_code=202)
async def stop(session: Session, services: ServicesDep, user: UserDep) -> None:
    """Stop whatever is being answered in the chat: `useChat`'s own `stop` only stops reading."""
    await services.sessions.stop(user.id, session)


async def _found(services: Services, user: UserId, session: str) -> ChatView | None:
    """None before the first question."""
    try:
        return await services.sessions.chat(user, session)
    except NotFound:
        return None


async def _current(services: Services, user: UserId, view: ChatView) -> JobId | None:
    if view.active_job_id is not None or not view.messages:
        return view.active_job_id
    last = view.messages[-1].job_id
    try:
        ended_at = (await services.show_job(user, last)).ended_at
    except NotFound:  # past its retention
        return None
    return last if ended_at is None or now() - ended_at < _REPLAYED_FOR else None


async def _approved(
    services: Services, user: UserId, session: str, approvals: Mapping[str, Approval]
) -> tuple[JobId, Cursor]:
    """The job that goes on, and where. What was said before is said again by each request."""
    view = await _found(services, user, session)
    if view is None or not view.messages:
        raise Conflict(_NOTHING_WAITS)
    found = await services.show_job(user, view.messages[-1].job_id)
    asked = {one.input_id: pause for pause in pauses_in(found.events) for one in pause.questions}
    if not approvals.keys() <= asked.keys():
        raise Conflict(_NOTHING_WAITS)
    questions = {one.input_id: one for pause in asked.values() for one in pause.questions}
    verdicts = {
        own: verdict(questions[own], approved=said.approved is True, reason=said.reason)
        for own, said in approvals.items()
    }
    await services.answer_input.all(user, found.job.id, verdicts)
    return found.job.id, max(asked[input_id].last for input_id in approvals)


async def _stream(
    following: FollowingDep, job_id: JobId, compat: str | None, after: Cursor | None = None
) -> Response:
    encoder = compatible_encoder_for if compat else encoder_for
    stream = await following(
        job_id, encoder, after, closing=lambda waiting: closing_of(encoder(waiting.job), waiting)
    )
    stream.headers["X-Vercel-AI-UI-Message-Stream"] = "v1"
    return stream
