"""The Agent Streaming Protocol's two routes (version 2): commands, and a thread's events."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sluice.application.ports import Accepted
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.json_request import HistoryRoute
from sluice.interfaces.http.models import Several
from sluice.interfaces.http.problems import Problem, wrong
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.protocols.langgraph.answers import answer
from sluice.interfaces.protocols.langgraph.requests import NewRun, ThreadPath
from sluice.interfaces.protocols.langgraph.run_routes import asked
from sluice.interfaces.protocols.langgraph.thread_stream import ThreadReading, ThreadStream

_ERRORS = {404: "no_such_run", 401: "permission_denied", 403: "permission_denied"} | dict.fromkeys(
    (400, 409, 413, 415, 422), "invalid_argument"
)
_CHANNELS = frozenset({"custom", "input", "lifecycle", "messages", "tools", "values"})


class CommandRoute(HistoryRoute):
    """What goes wrong has the protocol's own shape, and our status."""

    def told(self, problem: Problem, request_id: str) -> Response:
        body = {
            "type": "error",
            "id": None,
            "error": _ERRORS.get(problem.status_code, "unknown_error"),
            "message": problem.detail,
            "code": problem.code,
            "request_id": request_id,
        }
        return JSONResponse(body, problem.status_code, problem.headers)


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Command(_Asked):
    id: Annotated[int, Field(ge=0)]
    method: str
    params: dict[str, JsonValue] = {}


class Events(_Asked):
    channels: Several[str] = []


routes = APIRouter(route_class=CommandRoute)


@routes.post("/threads/{thread}/commands")
async def command(
    thread: ThreadPath,
    body: Command,
    response: Response,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> dict[str, Any]:
    """Ask in a thread, which the first question makes."""
    match body.method:
        case "run.start":
            accepted = await _start(thread, body.params, services, options, user, request_id)
            services.asked.tell(user.id, thread)
            response.headers["X-Sluice-Job"] = accepted.job_id
            return {"type": "success", "id": body.id, "result": {"run_id": accepted.job_id}}
        case "input.respond":
            given = responses_of(body.params)
            job_id = await answer(thread, given, services, user, named=True)
            response.headers["X-Sluice-Job"] = job_id
            return {"type": "success", "id": body.id, "result": {"run_id": job_id}}
    raise wrong("method", "is not known here")


@routes.post("/threads/{thread}/stream/events", response_class=Response)
async def stream_events(
    thread: ThreadPath,
    request: Request,
    body: Events,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
) -> Response:
    """What happens in a thread, from its newest run on, and for as long as it is read."""
    push = request.scope["extensions"][PUSH]
    channels = _CHANNELS.intersection(body.channels)
    reading = ThreadReading(services, user, thread, channels, push)
    batches = reading.batches()
    await anext(batches)  # refused before it is begun
    return ThreadStream(batches, options.streams, ping=options.ping, expires=user.expires)


def responses_of(params: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """By the interrupts' ids: one, or several at once. Raises Problem 422."""
    several = params.get("responses")
    found = dict[str, JsonValue]()
    for each in several if isinstance(several, list) else [params]:
        own = each.get("interrupt_id") if isinstance(each, dict) else None
        if not isinstance(each, dict) or not isinstance(own, str):
            raise wrong("params.interrupt_id", "must be a text")
        found[own] = each.get("response")
    return found


async def _start(
    thread: str,
    params: dict[str, JsonValue],
    services: Services,
    options: Options,
    user: User,
    request_id: str,
) -> Accepted:
    assistant, metadata = params.get("assistant_id"), params.get("metadata")
    if not isinstance(assistant, str):
        raise wrong("params.assistant_id", "must be a text")
    if metadata is not None and not isinstance(metadata, dict):
        raise wrong("params.metadata", "must be an object")
    config = params.get("config")
    configurable = config.get("configurable") if isinstance(config, dict) else None
    checkpoint = configurable.get("checkpoint_id") if isinstance(configurable, dict) else None
    run = NewRun(
        assistant_id=assistant,
        input=params.get("input"),
        metadata=metadata,
        stream_mode=["messages", "values"],
        checkpoint_id=checkpoint if isinstance(checkpoint, str) else None,
        if_not_exists="create",
    )
    return await services.submit(await asked(thread, run, services, options, user, request_id))
