"""Chats: listed, shown, renamed, deleted. The question that opens one is a protocol's."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from sluice.domain.chat import Chat, ChatId
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import (
    ChatBody,
    ChatPage,
    MessageBody,
    Renamed,
    WholeChat,
)
from sluice.interfaces.http.problems import problems, wrong
from sluice.interfaces.http.routes.parameters import ChatIdPath
from sluice.interfaces.http.services import ServicesDep, UserDep

routes = APIRouter(tags=["chat"], route_class=ApiRoute)

_PAST = problems(401, 403, 404, 422, 503)


@routes.head("/api/v1/chat", include_in_schema=False)
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


@routes.head("/api/v1/chat/{chat_id}", include_in_schema=False)
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
