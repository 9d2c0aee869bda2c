"""Problems as LangGraph's own server tells them: its clients take `detail` for the message."""

from fastapi.responses import JSONResponse
from starlette.responses import Response

from sluice.interfaces.http.json_request import ApiRoute, HistoryRoute
from sluice.interfaces.http.problems import Problem


class ThreadRoute(ApiRoute):
    def told(self, problem: Problem, request_id: str) -> Response:
        body = {"detail": problem.detail, "code": problem.code, "request_id": request_id}
        return JSONResponse(body, problem.status_code, problem.headers)


class RunRoute(ThreadRoute, HistoryRoute):
    """Asks."""
