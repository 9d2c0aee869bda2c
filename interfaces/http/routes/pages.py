"""The page, its files, and the documentation of the interface."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sluice.interfaces.http.docs import STYLE, render

routes = APIRouter(include_in_schema=False)

_BADGE = 'id="offline"'


def page_of(html: str, *, offline: bool) -> str:
    """Tells of the offline model before the first question, without a script to ask for it."""
    return html.replace(f"{_BADGE} hidden", _BADGE) if offline else html


@routes.head("/")
@routes.get("/")
async def page(request: Request) -> Response:
    return HTMLResponse(request.app.state.page)


@routes.head("/compare")
@routes.get("/compare")
async def compare(request: Request) -> Response:
    """One question on both paths, side by side."""
    return HTMLResponse(request.app.state.assets.text("compare.html"))


@routes.head("/rollout")
@routes.get("/rollout")
async def rollout(request: Request) -> Response:
    """The share and what it does; its figures are for admins, who are asked who they are there."""
    return HTMLResponse(request.app.state.assets.text("rollout.html"))


@routes.head("/docs")
@routes.get("/docs")
async def docs(request: Request) -> Response:
    return HTMLResponse(render(request.app.openapi()))


@routes.head("/docs/style.css")
@routes.get("/docs/style.css")
async def docs_style() -> Response:
    return Response(STYLE, media_type="text/css")
