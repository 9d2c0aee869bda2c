"""The page, its files, and the documentation of the interface."""

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sluice.interfaces.http.docs import STYLE, render
from sluice.interfaces.http.services import OptionsDep

routes = APIRouter(include_in_schema=False)

_BADGE = 'id="offline"'


@routes.head("/")
@routes.get("/")
async def page(options: OptionsDep) -> Response:
    """Tells of the offline model before the first question, without a script to ask for it."""
    html = await asyncio.to_thread((options.web / "index.html").read_text, "utf-8")
    return HTMLResponse(html.replace(f"{_BADGE} hidden", _BADGE) if options.offline else html)


@routes.get("/docs")
async def docs(request: Request) -> Response:
    return HTMLResponse(render(request.app.openapi()))


@routes.get("/docs/style.css")
async def docs_style() -> Response:
    return Response(STYLE, media_type="text/css")
