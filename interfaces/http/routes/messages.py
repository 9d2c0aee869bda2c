"""Asking: a job is taken, or nothing is."""

from fastapi import APIRouter, Response

from sluice.application.submit import NewMessage
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import AcceptedBody, Asking, Question
from sluice.interfaces.http.problems import problems, too_large, wrong
from sluice.interfaces.http.routes.parameters import AskedPath, ChatIdPath, IdempotencyKey
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)

routes = APIRouter(tags=["chat"], route_class=ApiRoute)

SUBMITTED = problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


@routes.post("/api/v1/chat/{chat_id}/messages", status_code=202, responses=SUBMITTED)
async def ask(
    chat_id: ChatIdPath,
    body: Asking,
    response: Response,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
    path: AskedPath,
    key: IdempotencyKey = None,
) -> AcceptedBody:
    """Ask in a chat, or ask a job's question again."""
    if isinstance(body, Question):
        check_question(body, options)
    new = NewMessage(
        user=user.id,
        request_id=request_id,
        chat_id=chat_id,
        idempotency_key=key,
        sticky=user.sticky,
        path=path,
        **body.model_dump(),
    )
    return await submit(new, services, response)


def check_question(question: Question, options: Options) -> None:
    if len(question.message.encode()) > options.max_message_bytes:
        raise too_large()
    offered = options.models
    if question.model is not None and offered is not None and question.model not in offered:
        raise wrong("model", "is not offered here")


async def submit(new: NewMessage, services: Services, response: Response) -> AcceptedBody:
    accepted = await services.submit(new)
    response.headers["Location"] = f"/api/v1/jobs/{accepted.job_id}"
    return AcceptedBody(
        job_id=accepted.job_id,
        chat_id=accepted.chat_id,
        path=accepted.path,
        stream_url=f"/api/v1/chat/{accepted.job_id}/events",
    )
