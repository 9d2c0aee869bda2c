"""AG-UI's one address: run an agent, or look at a thread or a run that is there."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import JSONResponse, Response

from sluice.application.chats import ChatView
from sluice.domain.events import NeedsInput
from sluice.interfaces.http.json_request import HistoryRoute
from sluice.interfaces.http.problems import Problem, wrong
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from sluice.interfaces.protocols.ag_ui.events import interrupts_of
from sluice.interfaces.protocols.ag_ui.requests import Name, RunInput, shown, thread_before
from sluice.interfaces.protocols.ag_ui.runs import Runs, RunsDep


class RunRoute(HistoryRoute):
    """A problem is the event that it would be in a run: `HttpAgent` has it as `error.payload`."""

    def told(self, problem: Problem, _request_id: str) -> Response:
        body = {"type": "RUN_ERROR", "message": problem.detail, "code": problem.code}
        return JSONResponse(body, problem.status_code, problem.headers)


routes = APIRouter(include_in_schema=False, route_class=RunRoute)

_FROM_THE_BEGINNING = "-1"

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]


@routes.post("/ag-ui")
async def run(
    body: RunInput, runs: RunsDep, offset: str | None = None, last: LastEventId = None
) -> Response:
    """Run the agent, or go on reading the run of that id."""
    return await runs.run(body, _cursor(offset, last))


@routes.get("/ag-ui")
async def read(
    runs: RunsDep,
    thread: Annotated[Name | None, Query(alias="threadId")] = None,
    run_id: Annotated[Name | None, Query(alias="runId")] = None,
    offset: str | None = None,
    last: LastEventId = None,
) -> Response:
    """A run's stream, or a thread's messages with the run that is being answered."""
    if run_id is not None:
        return await _joined(runs, run_id, thread, _cursor(offset, last))
    if thread is None:
        raise wrong("threadId", "or runId must be given")
    view = await runs.view(thread)
    asked = await runs.asked(view)
    return JSONResponse(_hydration(view, asked), headers={"Cache-Control": "no-store"})


async def _joined(runs: Runs, run_id: str, thread: str | None, cursor: str | None) -> Response:
    job = await runs.job(run_id, thread)
    view = await runs.chat_of(job)
    named = thread or await runs.thread_of(job)
    return await runs.follow(AgUiEncoder(job.id, named, run_id, thread_before(view, job)), cursor)


def _cursor(offset: str | None, last: str | None) -> str | None:
    """A frame's id, None for the beginning. The header wins: who comes back repeats its query."""
    text = offset if last is None else last.strip()
    return None if text == _FROM_THE_BEGINNING else text


def _hydration(view: ChatView | None, asked: Sequence[NeedsInput]) -> dict[str, Any]:
    """What TanStack AI asks for when a page is loaded; a job that waits is in no run."""
    messages = [
        {
            "id": one["id"],
            "role": one["role"],
            "parts": [{"type": "text", "content": one["content"]}],
        }
        for one in (shown(view.messages) if view else ())
    ]
    active = view.active_job_id if view else None
    return {
        "messages": messages,
        "activeRun": {"runId": active} if active and not asked else None,
        "interrupts": {"runId": active, "pending": interrupts_of(active, asked)}
        if active and asked
        else None,
    }
