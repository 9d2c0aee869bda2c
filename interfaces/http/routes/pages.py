"""The page, its files, and the documentation of the interface."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from interfaces.http.docs import STYLE, render
from interfaces.http.services import OptionsDep

routes = APIRouter(include_in_schema=False)


@routes.head("/")
@routes.get("/")
async def page(options: OptionsDep) -> Response:
    return FileResponse(options.web / "index.html")


@routes.get("/docs")
async def docs(request: Request) -> Response:
    return HTMLResponse(render(request.app.openapi()))


@routes.get("/docs/style.css")
async def docs_style() -> Response:
    return Response(STYLE, media_type="text/css")
