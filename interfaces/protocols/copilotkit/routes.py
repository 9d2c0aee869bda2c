"""What CopilotKit asks its runtime for. There is one agent, `default`: the pipeline."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from sluice.application.compact_json import compact
from sluice.domain.events import BEGINNING, Cursor
from sluice.interfaces.http.json_request import HistoryRoute
from sluice.interfaces.http.problems import Problem
from sluice.interfaces.http.services import ServicesDep, UserDep
from sluice.interfaces.http.sse import HEADERS
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from sluice.interfaces.protocols.ag_ui.events import finished, opening, snapshot
from sluice.interfaces.protocols.ag_ui.requests import RunInput, shown, thread_before
from sluice.interfaces.protocols.ag_ui.runs import RunsDep
from sluice.interfaces.protocols.frames import frames_of


class RuntimeRoute(HistoryRoute):
    """Problems as CopilotKit's own runtime tells them."""

    def told(self, problem: Problem, _request_id: str) -> Response:
        body = {"error": problem.code, "message": problem.detail}
        return JSONResponse(body, problem.status_code, problem.headers)


routes = APIRouter(prefix="/copilotkit", include_in_schema=False, route_class=RuntimeRoute)

_AGENT = "/agent/default"


@routes.get("/info")
async def info() -> dict[str, Any]:
    """The agents there are."""
    return {"agents": {"default": {"description": "Sluice's pipeline"}}}


@routes.post(_AGENT + "/run")
async def run(body: RunInput, runs: RunsDep) -> Response:
    """Run the agent."""
    return await runs.run(body)


@routes.post(_AGENT + "/connect")
async def connect(body: RunInput, runs: RunsDep) -> Response:
    """The thread's messages, and the run that is being answered, if one is."""
    view = await runs.view(body.threadId)
    if view is None or view.active_job_id is None:
        return _whole(body, shown(view.messages) if view else ())
    job = await runs.job(view.active_job_id)
    before = thread_before(view, job)
    return await runs.follow(
        AgUiEncoder(job.id, body.threadId, body.runId, before, opens_with_messages=True)
    )


@routes.post(_AGENT + "/stop/{thread}")
async def stop(thread: str, services: ServicesDep, user: UserDep) -> dict[str, bool]:
    """Stop whatever is being answered in the thread."""
    await services.sessions.stop(user.id, thread)
    return {"stopped": True}


def _whole(body: RunInput, messages: Sequence[Any]) -> Response:
    """A run that only tells what is there, which for a new thread is nothing."""
    told = opening(body.threadId, body.runId)
    if messages:
        told.append(snapshot(compact(messages)))
    told.append(finished(body.threadId, body.runId, "success"))
    frames = b"".join(frames_of(BEGINNING, Cursor(1, 1), told))
    return Response(frames, headers=HEADERS, media_type="text/event-stream")
