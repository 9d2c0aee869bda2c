"""Threads: made, found, shown, renamed, deleted."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from sluice.domain.chat import Chat, UserId, new_id, now
from sluice.domain.errors import Conflict, NotFound
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.services import Services, ServicesDep, UserDep
from sluice.interfaces.protocols.langgraph.problems import ThreadRoute
from sluice.interfaces.protocols.langgraph.requests import (
    ChangedThread,
    NewThread,
    Page,
    Past,
    ThreadPath,
)
from sluice.interfaces.protocols.langgraph.threads import Thread, chat_of, thread_of

routes = APIRouter(route_class=ThreadRoute)


@routes.post("/threads")
async def create_thread(body: NewThread, services: ServicesDep, user: UserDep) -> dict[str, Any]:
    """A chat without a question. An id of the client's own is a session's name."""
    if body.supersteps:
        raise wrong("supersteps", "a thread's past cannot be given")
    title = _title(body.metadata or {})
    thread, chat_id = body.thread_id, new_id()
    if thread is not None:
        if found := await _found(services, user.id, thread):
            if body.if_exists != "do_nothing":
                raise Conflict("there is a thread of that id")
            return (await thread_of(services, found, thread)).body()
        chat_id = await services.names.session(user.id, thread, chat_id)
    chat = await services.chats.open(Chat(chat_id, user.id, title, now()))
    return (await thread_of(services, chat, thread or chat.id)).body()


@routes.post("/threads/search")
async def search_threads(
    services: ServicesDep, user: UserDep, body: Page | None = None
) -> Sequence[dict[str, Any]]:
    """The user's threads, newest first. There is nothing else to search by."""
    page = body or Page()
    page.check()
    chats = await services.chats.chats(user.id, limit=page.limit + page.offset, before=None)
    found = list[Thread]()
    for chat in chats[page.offset :]:
        name = await services.names.name(user.id, chat.id)
        try:
            found.append(await thread_of(services, chat, name or chat.id))
        except NotFound:
            continue  # deleted in between
    return [thread.body() for thread in found]


@routes.get("/threads/{thread}")
async def show_thread(thread: ThreadPath, services: ServicesDep, user: UserDep) -> dict[str, Any]:
    """A thread with its messages."""
    return (await _thread(services, user.id, thread)).body()


@routes.patch("/threads/{thread}")
async def change_thread(
    thread: ThreadPath, body: ChangedThread, services: ServicesDep, user: UserDep
) -> dict[str, Any]:
    """Give it another title; nothing else is kept with a thread."""
    chat = await chat_of(services, user.id, thread)
    for key in body.metadata or {}:
        if key != "title":
            raise wrong(f"metadata.{key}", "is not kept with a thread: a title is")
    if title := _title(body.metadata or {}):
        await services.chats.rename(user.id, chat.id, title)
    return (await _thread(services, user.id, thread)).body()


@routes.delete("/threads/{thread}", status_code=204)
async def delete_thread(thread: ThreadPath, services: ServicesDep, user: UserDep) -> None:
    """Cancel its runs, and forget every text of it."""
    chat = await chat_of(services, user.id, thread)
    await services.delete_chat(user.id, chat.id)


@routes.get("/threads/{thread}/state")
async def show_state(thread: ThreadPath, services: ServicesDep, user: UserDep) -> dict[str, Any]:
    """What is settled: without the text of a run that is not over."""
    return (await _thread(services, user.id, thread)).state(draft=False)


@routes.post("/threads/{thread}/history")
async def show_history(
    thread: ThreadPath, services: ServicesDep, user: UserDep, body: Past | None = None
) -> Sequence[dict[str, Any]]:
    """The newest state, with the text so far of a run that is not over: there is no other one."""
    found = await _thread(services, user.id, thread)
    return [] if body and body.before else found.history()


async def _thread(services: Services, user: UserId, thread: str) -> Thread:
    return await thread_of(services, await chat_of(services, user, thread), thread)


async def _found(services: Services, user: UserId, thread: str) -> Chat | None:
    try:
        return await chat_of(services, user, thread)
    except NotFound:
        return None


def _title(metadata: dict[str, Any]) -> str | None:
    title = metadata.get("title")
    if title is not None and not (isinstance(title, str) and len(title) <= 200):
        raise wrong("metadata.title", "must be a text of at most 200 characters")
    return title
