"""`POST /v1/chat/completions`: a question, answered at once or chunk by chunk."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sluice.application.encoding import EncoderFor
from sluice.application.side_calls import SideAnswer
from sluice.domain.chat import Turn, new_id
from sluice.domain.errors import ChatError, Unavailable
from sluice.domain.events import Done, Failed, NeedsInput, Usage
from sluice.interfaces.http.problems import Problem
from sluice.interfaces.protocols.openai.completions_encoder import (
    CompletionEncoder,
    completion_encoder,
    completion_id,
    finish_of,
    usage_of,
)
from sluice.interfaces.protocols.openai.frames import end_body, model_name
from sluice.interfaces.protocols.openai.requests import Completion, model_of, question_of
from sluice.interfaces.protocols.openai.serving import (
    JOB,
    SHOULD_RETRY,
    Caller,
    CallerDep,
    OpenAIRoute,
    silence,
)
from sluice.interfaces.protocols.openai.streams import CompletionStream, unless_error
from sluice.interfaces.protocols.side_calls import front_end_of

routes = APIRouter(route_class=OpenAIRoute)

_LEFT = 499
"""Nobody reads it: the client has left."""


@routes.post("/v1/chat/completions", response_model=None)
async def complete(body: Completion, caller: CallerDep) -> Response:
    """OpenAI's chat completions. Without a conversation of the front end's it is in no chat."""
    options = caller.options
    model = model_of(body.model, options)
    *history, question = question_of(body.messages, "messages", options)
    streamed = bool(body.stream)
    if options.side_calls != "pipeline" and front_end_of(question.content, streamed=streamed):
        return await _aside(body, caller, [*history, question], model)
    body.check()
    conversation = caller.conversation()
    fields: dict[str, Any] = {"model": model, "metadata": body.metadata or {}}
    encoder_for: EncoderFor = silence
    if streamed:
        encoder_for = partial(completion_encoder, usage=body.wants_usage)
    push = unless_error(caller.push) if streamed else None
    job_id, batches = await caller.ask(
        history, question.content, conversation, encoder_for, push, **fields
    )

    async def abandoned() -> None:
        """Nobody can come back to it; a chat keeps its answer all the same."""
        if conversation is None:
            await caller.cancel(job_id)

    if streamed:
        options, expires = caller.options, caller.user.expires
        return CompletionStream(
            batches, job_id, abandoned, options.streams, ping=options.ping, expires=expires
        )
    with caller.asked_once(conversation):
        end = await caller.end_of(batches)
    if end is None:
        await abandoned()
        return Response(status_code=_LEFT)
    if isinstance(end, Done):
        finish = finish_of(end.finish_reason)
        told = _completion(job_id, model, end.answer, finish, end.usage)
        return JSONResponse(told, headers={JOB: job_id})
    if isinstance(end, NeedsInput):
        await abandoned()
    # Not what would put the question into its chat twice.
    again = conversation is None and isinstance(end, Failed) and end.retryable
    status, failed = end_body(end)
    headers = {JOB: job_id, SHOULD_RETRY: str(again).lower()}
    return JSONResponse(failed, status, headers)


async def _aside(
    body: Completion, caller: Caller, turns: Sequence[Turn], model: str | None
) -> Response:
    """A side call: no job, no chat, no figure."""
    if caller.options.side_calls == "refuse":
        raise Problem(400, "side_call", "Side calls of front ends are not answered here.")
    if (ask := caller.services.ask_model) is None:
        raise Unavailable("no upstream is known here")
    try:
        answer = await caller.unless_left(ask(caller.user.id, turns, model))
    except ChatError as error:
        failed = Failed.of(error, caller.request.state.request_id)
        status, told = end_body(failed)
        return JSONResponse(told, status)
    if answer is None:
        return Response(status_code=_LEFT)
    if body.stream:
        return _at_once(answer, model, usage=body.wants_usage)
    return JSONResponse(_completion(new_id(), model, answer.text, "stop", answer.usage))


def _at_once(answer: SideAnswer, model: str | None, *, usage: bool) -> Response:
    encoder = CompletionEncoder(new_id(), int(time.time()), model_name(model), usage)
    frames = encoder.whole(Done("A1", answer.text, usage=answer.usage))
    return Response(b"".join(frames), media_type="text/event-stream")


def _completion(
    job_id: str, model: str | None, text: str, finish: str, usage: Usage | None
) -> Mapping[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    told = {
        "id": completion_id(job_id),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model_name(model),
        "choices": [choice],
    }
    return told if usage is None else told | {"usage": usage_of(usage)}
