"""`/v1/responses`: a job as a response, to be come back to for as long as its log is kept."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sluice.application.jobs import JobView
from sluice.domain.chat import JobId, Turn
from sluice.domain.errors import Finished
from sluice.domain.events import TERMINAL, Cursor
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.routes.parameters import JobIdPath
from sluice.interfaces.http.sse import HEADERS
from sluice.interfaces.protocols.openai.frames import STREAM_END
from sluice.interfaces.protocols.openai.places import fold, place_behind
from sluice.interfaces.protocols.openai.requests import ResponseRequest, model_of, question_of
from sluice.interfaces.protocols.openai.response_object import status_of_end
from sluice.interfaces.protocols.openai.responses_encoder import ResponseEncoder
from sluice.interfaces.protocols.openai.serving import JOB, Caller, CallerDep, OpenAIRoute, silence
from sluice.interfaces.protocols.openai.streams import JobStream

routes = APIRouter(route_class=OpenAIRoute)

_STATUSES = {"queued": "queued", "running": "in_progress", "waiting": "in_progress"}


@routes.post("/v1/responses", response_model=None)
async def create(body: ResponseRequest, caller: CallerDep) -> Response:
    """OpenAI's responses: streamed, in the background, both, or waited for."""
    model = model_of(body.model, caller.options)
    *history, question = question_of(body.input, "input", caller.options)
    body.check()
    conversation = body.conversation.id if body.conversation else caller.conversation()
    if body.instructions:
        if conversation is not None:
            raise wrong("instructions", "are not offered in a conversation")
        history = [Turn("system", body.instructions), *history]
    fields: dict[str, Any] = {"model": model, "metadata": body.metadata or {}}
    asked = history, question.content, conversation
    if body.stream:
        encoder_for = partial(ResponseEncoder, conversation=conversation)
        return _stream(caller, *await caller.ask(*asked, encoder_for, caller.push, **fields))
    if body.background:
        job_id = await caller.submit(*asked, **fields)
    else:
        job_id, batches = await caller.ask(*asked, silence, None, **fields)
    with caller.asked_once(conversation):
        if not body.background:
            await caller.end_of(batches)
        return _shown(*await _read(caller, job_id))


@routes.get("/v1/responses/{job_id}", response_model=None)
async def show(
    job_id: JobIdPath,
    caller: CallerDep,
    stream: bool = False,
    starting_after: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """A response as it stands, or its events behind one of them."""
    encoder, view = await _read(caller, job_id)
    if not stream:
        return _shown(encoder, view)
    after, skip = _place(encoder, view, starting_after)
    caller.options.streams.resumes += starting_after is not None
    try:
        batches = await caller.services.follow(
            caller.user.id,
            job_id,
            after=after,
            skip=skip,
            encoder_for=lambda _: encoder,
            push=caller.push,
        )
    except Finished:
        headers = {**HEADERS, JOB: job_id}
        return Response(STREAM_END, headers=headers, media_type="text/event-stream")
    return _stream(caller, job_id, batches)


@routes.post("/v1/responses/{job_id}/cancel", response_model=None)
async def cancel(job_id: JobIdPath, caller: CallerDep) -> Response:
    """Stop a response. One that is over stays as it ended."""
    await caller.cancel(job_id)
    return _shown(*await _read(caller, job_id))


def _stream(caller: Caller, job_id: JobId, batches: Any) -> Response:
    options = caller.options
    return JobStream(
        batches, job_id, options.streams, ping=options.ping, expires=caller.user.expires
    )


async def _read(caller: Caller, job_id: JobId) -> tuple[ResponseEncoder, JobView]:
    """The job as it stands. Raises NotFound."""
    view = await caller.services.show_job(caller.user.id, job_id)
    job, conversation = view.job, None
    if job.history is None:
        conversation = await caller.services.names.name(job.user, job.chat_id)
    return ResponseEncoder(job, conversation), view


def _place(
    encoder: ResponseEncoder, view: JobView, number: int | None
) -> tuple[Cursor | None, int]:
    if number is None:
        return None, 0
    place = place_behind(encoder, view.events, number)
    if place is None:
        raise wrong("starting_after", "no such event was sent")
    return place


def _shown(encoder: ResponseEncoder, view: JobView) -> Response:
    return JSONResponse(_object(encoder, view), headers={JOB: view.job.id})


def _object(encoder: ResponseEncoder, view: JobView) -> dict[str, Any]:
    state, end = fold(encoder, view.events), view.events[-1].event
    if not isinstance(end, TERMINAL):
        return encoder.response(_STATUSES[view.status], encoder.output(state, "in_progress"))
    status = status_of_end(end)
    output = encoder.output(state, "completed" if status == "completed" else "incomplete")
    return encoder.response(status, output, end)
