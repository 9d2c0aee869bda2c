"""All of it under one prefix, which is what a client is given as its address.

Its clients know the routes: they are not in our own documentation of the interface.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter

from sluice.interfaces.protocols.langgraph import run_routes, thread_events, thread_routes
from sluice.interfaces.protocols.langgraph.problems import ThreadRoute

_ASSISTANT: dict[str, Any] = {
    "assistant_id": "sluice",
    "graph_id": "sluice",
    "name": "sluice",
    "description": None,
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00+00:00",
    "version": 1,
    "config": {},
    "context": {},
    "metadata": {},
}
"""The one pipeline that is served: whatever a client calls its assistant, it is this one."""

_server = APIRouter(route_class=ThreadRoute)


@_server.get("/info")
async def info() -> dict[str, Any]:
    """What kind of server this is."""
    flags = {"assistants": True, "crons": False, "langsmith": False, "store": False}
    return {"version": "1", "flags": flags, "metadata": {}}


@_server.get("/ok")
async def ok() -> dict[str, bool]:
    """Alive."""
    return {"ok": True}


@_server.post("/assistants/search")
async def search_assistants() -> Sequence[dict[str, Any]]:
    """The one pipeline."""
    return [_ASSISTANT]


@_server.get("/assistants/{assistant}")
async def show_assistant(assistant: str) -> dict[str, Any]:  # noqa: ARG001 - any name is its
    """The one pipeline."""
    return _ASSISTANT


routes = APIRouter(prefix="/langgraph", include_in_schema=False)
for part in (_server, thread_routes.routes, run_routes.routes, thread_events.routes):
    routes.include_router(part)
