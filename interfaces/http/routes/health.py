"""What a supervisor, a load balancer and a scraper ask."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from sluice.interfaces.http.problems import Problem, problems
from sluice.interfaces.http.services import ServicesDep

routes = APIRouter(tags=["operation"])


class Health(BaseModel):
    status: Literal["ok", "ready"]


@routes.head("/healthz", include_in_schema=False)
@routes.get("/healthz")
async def healthz() -> Health:
    """Alive."""
    return Health(status="ok")


@routes.head("/readyz", include_in_schema=False)
@routes.get("/readyz", responses=problems(503))
async def readyz(services: ServicesDep) -> Health:
    """Able to take questions."""
    if reason := await services.ready():
        raise Problem(503, "not_ready", reason, {"Retry-After": "2"})
    return Health(status="ready")


@routes.head("/metrics", include_in_schema=False)
@routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: ServicesDep) -> Response:
    """Prometheus text."""
    return Response(await services.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
