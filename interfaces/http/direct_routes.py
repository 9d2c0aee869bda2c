"""Routes that are answered without FastAPI's layers.

Routing through included routers, three exit stacks, the handlers of exceptions and solving the
parameters are most of what a small request costs here, and an answer has three requests. What a
route does is written once, as FastAPI wants it, which describes it, too: a route that needs nothing
of these layers (`arguments.py`) is found and called here, by the same rules. All others, and all
requests whose trace FastAPI writes, go on to it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from fastapi.routing import RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.interfaces.http.headers import FoundHeaders
from sluice.interfaces.http.json_request import ApiRoute, Endpoint
from sluice.interfaces.http.problems import FORESEEN, answer

_TRACED = "fastapi.telemetry"
_Known = tuple[re.Pattern[str], Endpoint | None]
"""The path, and who answers it: None is FastAPI."""


class DirectRoutes:
    """The first route whose path and method match is the one, as in FastAPI's own router."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """`routes`: all of the application's."""
        self._app = app
        self._known = _by_method_and_length(iter_route_contexts(routes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._find(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request._headers = FoundHeaders(scope)
        response = await _answered(endpoint, request)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> Endpoint | None:
        if scope["type"] != "http" or _TRACED in scope:
            return None
        path = scope["path"]
        for pattern, endpoint in self._known.get((scope["method"], path.count("/")), ()):
            if match := pattern.match(path):
                if endpoint is not None:
                    scope["path_params"] = match.groupdict()
                return endpoint
        return None


async def _answered(endpoint: Endpoint, request: Request) -> Response:
    """By itself, so that no stream keeps its request."""
    try:
        return await endpoint(request)
    except FORESEEN as error:
        return await answer(request, error)


def _by_method_and_length(
    contexts: Iterable[RouteContext],
) -> Mapping[tuple[str, int], Sequence[_Known]]:
    """Of a method and a path of so many parts all that can match, in their order."""
    routes = [
        (method, _length(context.path or ""), context.path_regex, _endpoint(context))
        for context in contexts
        for method in context.methods or ()
    ]
    return {
        (method, length): [
            (pattern, endpoint)
            for own, parts, pattern, endpoint in routes
            if own == method and parts in (length, None)
        ]
        for method, length, *_ in routes
        if length is not None
    }


def _length(path: str) -> int | None:
    """None where a parameter may have any number of parts."""
    return None if ":path}" in path else path.count("/")


def _endpoint(context: RouteContext) -> Endpoint | None:
    route = context.original_route
    return route.direct_endpoint() if isinstance(route, ApiRoute) else None
