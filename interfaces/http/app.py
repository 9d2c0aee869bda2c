"""The web application, put together from what it is handed."""

import os
from typing import Any

from fastapi import APIRouter, FastAPI
from opentelemetry import trace
from opentelemetry.environment_variables import (
    OTEL_PYTHON_METER_PROVIDER,
    OTEL_PYTHON_TRACER_PROVIDER,
)
from opentelemetry.metrics import _internal as metrics
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.interfaces.http.assets import Assets
from sluice.interfaces.http.direct_routes import DirectRoutes
from sluice.interfaces.http.hosts import HostCheck
from sluice.interfaces.http.middleware import ResponseHeaders
from sluice.interfaces.http.problems import answer_problems, describe_problems
from sluice.interfaces.http.routes import chats, health, jobs, pages, rollout
from sluice.interfaces.http.services import Options, Services

_OF_OPENAIS_CLIENT = [
    "X-Stainless-" + name
    for name in (
        "Arch", "Custom-Poll-Interval", "Helper-Method", "Lang", "OS", "Package-Version",
        "Poll-Helper", "Retry-Count", "Runtime", "Runtime-Version", "Timeout",
    )
]  # fmt: skip
"""Headers that it sends from a page, too."""


_BY_ENVIRONMENT = any(
    name in os.environ for name in (OTEL_PYTHON_METER_PROVIDER, OTEL_PYTHON_TRACER_PROVIDER)
)


def _unobserved() -> bool:
    """Nobody has set a provider. OpenTelemetry itself looks into the environment each time it is
    asked for one that is not there; what it keeps to itself may change, and then it is asked.
    """
    return (
        getattr(trace, "_TRACER_PROVIDER", metrics) is None
        and getattr(metrics, "_METER_PROVIDER", metrics) is None
        and not _BY_ENVIRONMENT
    )


class App(FastAPI):
    """FastAPI, but the middleware here also sees what it answers outside of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _unobserved() and not self.root_path:
            await Starlette.__call__(self, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        app = super().build_middleware_stack()
        options: Options = self.state.options
        if options.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=options.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
                allow_headers=[
                    "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID",
                    "X-API-Key", "X-Auth-Scheme", "X-Request-ID", "X-Run-ID", "X-Sluice-Path",
                    *_OF_OPENAIS_CLIENT,
                ],
                allow_credentials=True,
                expose_headers=[
                    "Content-Location", "Location", "Retry-After", "X-Request-ID", "X-Sluice-Job",
                ],
            )  # fmt: skip
        if options.hosts is not None:
            app = HostCheck(app, options.hosts)
        return ResponseHeaders(app)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            describe_problems(super().openapi())
        return super().openapi()


def create_app(services: Services, options: Options, *protocols: APIRouter) -> FastAPI:
    """`protocols`: the routes of each protocol that is served."""
    app = App(
        title="Sluice",
        summary="Tokens out of a LangGraph pipeline: in order, exactly once, resumable.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        telemetry={"logs": False},  # they hold exceptions' texts, and those may hold a prompt
    )
    assets = Assets(options.web)
    app.state.services, app.state.options, app.state.assets = services, options, assets
    app.state.page = pages.page_of(assets.text("index.html"), offline=options.offline)
    for module in (chats, jobs, rollout, health, pages):
        app.include_router(module.routes)
    for routes in protocols:
        app.include_router(routes)
    app.mount("/assets", assets)
    answer_problems(app)
    app.add_middleware(DirectRoutes, routes=app.routes)
    app.middleware_stack = app.build_middleware_stack()  # else the first request would wait for it
    return app
