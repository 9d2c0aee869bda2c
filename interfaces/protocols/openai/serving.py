"""What the routes of both APIs share: who asks, errors in OpenAI's form, and waiting for a job."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from sluice.application.encoding import EncoderFor, Push
from sluice.application.submit import NewMessage
from sluice.domain.chat import Job, JobId, Turn
from sluice.domain.events import TERMINAL, Cursor, NeedsInput, Recorded, Terminal
from sluice.interfaces.http.auth.identity import User, unauthorized
from sluice.interfaces.http.json_request import HistoryRoute
from sluice.interfaces.http.problems import FORESEEN, Problem, problem_of, wrong
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.http.sse import Batches
from sluice.interfaces.protocols.openai.frames import error_body

T = TypeVar("T")

JOB = "X-Sluice-Job"
SHOULD_RETRY = "X-Should-Retry"
"""Heeded by OpenAI's clients, which else ask again by themselves, as after a 503."""
_LONGEST_CONVERSATION = 128
_UNPROCESSABLE, _BAD = 422, 400


class OpenAIRoute(HistoryRoute):
    """A front end may name its user, and problems are told in OpenAI's form."""

    def told(self, problem: Problem, _request_id: str) -> Response:
        """A field that is refused is a 400 here: clients have a class of their own for that."""
        status = _BAD if problem.status_code == _UNPROCESSABLE else problem.status_code
        body = error_body(problem.detail, status, problem.code, problem.field)
        return JSONResponse(body, status, problem.headers)

    async def user(self, request: Request, options: Options) -> User:
        return options.forwarded.user(request) or await options.identity(request)


class Silence:
    """An encoder for who reads events, and no frames."""

    initial = None
    joins_tokens = True

    def encode(
        self, _state: None, _before: Cursor, _recorded: Recorded, /
    ) -> tuple[None, Sequence[bytes]]:
        return None, ()


_SILENCE = Silence()


def silence(_job: Job) -> Silence:
    return _SILENCE


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what may be asked of."""

    request: Request
    services: Services
    options: Options
    user: User

    @property
    def push(self) -> Push | None:
        push: Push = self.request.scope["extensions"][PUSH]
        return push

    def conversation(self) -> str | None:
        """The chat that a front end names. Raises Problem."""
        forwarded = self.options.forwarded
        name = forwarded.chat(self.request)
        if name is not None and len(name) > _LONGEST_CONVERSATION:
            raise wrong(str(forwarded.chat_header), "is too long")
        return name

    async def submit(
        self, history: Sequence[Turn], message: str, conversation: str | None, **fields: Any
    ) -> JobId:
        """The job. Without a conversation it is in no chat, but behind the turns given."""
        new = NewMessage(
            user=self.user.id,
            request_id=self.request.state.request_id,
            session=conversation,
            history=tuple(history) if conversation is None else None,
            message=message,
            sticky=self.user.sticky,
            **fields,
        )
        return (await self.services.submit(new)).job_id

    async def ask(
        self,
        history: Sequence[Turn],
        message: str,
        conversation: str | None,
        encoder_for: EncoderFor,
        push: Push | None,
        **fields: Any,
    ) -> tuple[JobId, Batches]:
        """As `submit`, and the job's stream: what that would be refused for is told before."""
        user = self.user.id
        with self.services.follow.reserve(user):
            job_id = await self.submit(history, message, conversation, **fields)
            with self.asked_once(conversation):
                return job_id, await self.services.follow(
                    user, job_id, after=None, encoder_for=encoder_for, push=push, reserved=True
                )

    @contextmanager
    def asked_once(self, conversation: str | None) -> Iterator[None]:
        """What goes wrong behind a question that its chat has is not to be asked again."""
        try:
            yield
        except FORESEEN as error:
            if conversation is None:
                raise
            problem = problem_of(error, self.request.state.request_id)
            problem.headers = {**(problem.headers or {}), SHOULD_RETRY: "false"}
            raise problem from error

    async def cancel(self, job_id: JobId) -> None:
        await self.services.cancel(self.user.id, job_id)

    async def end_of(self, batches: Batches) -> Terminal | NeedsInput | None:
        """How a new job ends, or what it first waits for; None if the client left before.

        Raises Unavailable, and Problem 401 when the client's identity ends.
        """
        return await self.unless_left(_last(batches))

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work gives; None, and the work is stopped, if the client leaves before."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(self.request))
        expires = self.user.expires
        timeout = None if expires is None else expires - time.time()
        both = [working, leaving]
        try:
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if not leaving.done():
                raise unauthorized()
            return None
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.wait(both)


def _caller(request: Request, services: ServicesDep, options: OptionsDep, user: UserDep) -> Caller:
    return Caller(request, services, options, user)


CallerDep = Annotated[Caller, Depends(_caller)]


async def _last(batches: Batches) -> Terminal | NeedsInput:
    async with aclosing(batches):
        async for batch in batches:
            end = batch.events[-1].event
            if isinstance(end, (*TERMINAL, NeedsInput)):
                return end
    raise AssertionError("a log ends with its terminal event, or in an exception")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
