"""Chats: opened, listed, shown, renamed, deleted."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from sluice.application.submit import NewMessage
from sluice.domain.chat import Chat, ChatId, new_id, now
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import (
    AcceptedBody,
    ChatBody,
    ChatPage,
    FirstQuestion,
    MessageBody,
    Opening,
    Renamed,
    WholeChat,
)
from sluice.interfaces.http.problems import problems, wrong
from sluice.interfaces.http.routes.messages import SUBMITTED, check_question, submit
from sluice.interfaces.http.routes.parameters import AskedPath, ChatIdPath, IdempotencyKey
from sluice.interfaces.http.services import OptionsDep, RequestIdDep, ServicesDep, UserDep

routes = APIRouter(tags=["chat"], route_class=ApiRoute)

_OPENED: dict[int | str, dict[str, Any]] = {
    201: {"model": ChatBody, "description": "A chat without a question"},
    202: {"model": AcceptedBody, "description": "A chat with its question taken"},
    **SUBMITTED,
}
_PAST = problems(401, 403, 404, 422, 503)


@routes.post("/api/v1/chat", status_code=202, response_model=None, responses=_OPENED)
async def open_chat(
    response: Response,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
    path: AskedPath,
    body: Opening | None = None,
    key: IdempotencyKey = None,
) -> AcceptedBody | ChatBody:
    """Open a chat, with or without its first question."""
    if not isinstance(body, FirstQuestion):
        chat = Chat(new_id(), user.id, body.title if body else None, now())
        response.status_code = 201
        response.headers["Location"] = f"/api/v1/chat/{chat.id}"
        return ChatBody.of(await services.chats.open(chat))
    check_question(body, options)
    new = NewMessage(
        user=user.id,
        request_id=request_id,
        session=body.session_id,
        idempotency_key=key,
        sticky=user.sticky,
        path=path,
        **body.model_dump(exclude={"session_id"}),
    )
    return await submit(new, services, response)


@routes.get("/api/v1/chat", responses=problems(401, 422, 503))
async def list_chats(
    services: ServicesDep,
    user: UserDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: str | None = None,
) -> ChatPage:
    """The user's chats, newest first."""
    before = _position(cursor) if cursor else None
    chats = await services.chats.chats(user.id, limit=limit + 1, before=before)
    page = chats[:limit]
    more = len(chats) > limit
    return ChatPage(
        items=[ChatBody.of(chat) for chat in page], next_cursor=_cursor(page[-1]) if more else None
    )


@routes.get("/api/v1/chat/{chat_id}", responses=problems(401, 404, 503))
async def show_chat(chat_id: ChatIdPath, services: ServicesDep, user: UserDep) -> WholeChat:
    """A chat with its messages, oldest first, and the job that is being answered."""
    view = await services.show_chat(user.id, chat_id)
    return WholeChat(
        **ChatBody.of(view.chat).model_dump(),
        active_job_id=view.active_job_id,
        items=[MessageBody.of(message) for message in view.messages],
    )


@routes.patch("/api/v1/chat/{chat_id}", status_code=204, responses=_PAST | problems(400, 413, 415))
async def rename_chat(
    chat_id: ChatIdPath, body: Renamed, services: ServicesDep, user: UserDep
) -> None:
    """Give a chat another title."""
    await services.chats.rename(user.id, chat_id, body.title)


@routes.delete("/api/v1/chat/{chat_id}", status_code=204, responses=_PAST)
async def delete_chat(chat_id: ChatIdPath, services: ServicesDep, user: UserDep) -> None:
    """Cancel the chat's jobs, and forget every text of it."""
    await services.delete_chat(user.id, chat_id)


def _cursor(chat: Chat) -> str:
    return urlsafe_b64encode(f"{chat.created_at.isoformat()} {chat.id}".encode()).decode()


def _position(cursor: str) -> tuple[datetime, ChatId]:
    try:
        time, chat_id = urlsafe_b64decode(cursor).decode("ascii").split(" ")
        created_at = datetime.fromisoformat(time)
    except ValueError:
        raise wrong("cursor", "was not given by this service") from None
    if created_at.tzinfo is None:
        raise wrong("cursor", "was not given by this service")
    return created_at, chat_id
