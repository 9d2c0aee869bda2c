"""Running an agent: what AG-UI's own route and CopilotKit's have in common."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from sluice.application.chats import ChatView
from sluice.application.sessions import run_key
from sluice.application.submit import NewMessage
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Conflict, Finished, NotFound
from sluice.domain.events import NeedsInput
from sluice.interfaces.http.following import FollowingDep
from sluice.interfaces.http.models import Question
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.routes.messages import check_question
from sluice.interfaces.http.services import OptionsDep, RequestIdDep, ServicesDep, UserDep
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from sluice.interfaces.protocols.ag_ui.requests import Resumed, RunInput
from sluice.interfaces.protocols.frames import position_of
from sluice.interfaces.protocols.pauses import closing_of, pauses_in, pending_in

_NOTHING_WAITS = "nothing in this thread waits for that answer"


class Runs:
    """A thread is a session within the user, a run id an idempotency key within its thread."""

    def __init__(
        self,
        following: FollowingDep,
        services: ServicesDep,
        options: OptionsDep,
        user: UserDep,
        request_id: RequestIdDep,
    ) -> None:
        self._following, self._services, self._options = following, services, options
        self._user, self._request_id = user, request_id

    async def view(self, thread: str) -> ChatView | None:
        """None before the first question."""
        try:
            return await self._services.sessions.chat(self._user.id, thread)
        except NotFound:
            return None

    async def job(self, run_id: str, thread: str | None = None) -> Job:
        return await self._services.sessions.job(self._user.id, run_id, thread)

    async def asked(self, view: ChatView | None) -> Sequence[NeedsInput]:
        """What the chat's job waits for."""
        if view is None or view.active_job_id is None:
            return ()
        return pending_in(await self._services.show_job(self._user.id, view.active_job_id))

    async def chat_of(self, job: Job) -> ChatView:
        return await self._services.show_chat(self._user.id, job.chat_id)

    async def thread_of(self, job: Job) -> str:
        """The client's name for the job's chat, or ours if it has none."""
        return await self._services.names.name(self._user.id, job.chat_id) or job.chat_id

    async def run(self, asked: RunInput, cursor: str | None = None) -> Response:
        """A run that is known goes on behind the cursor, another one begins."""
        if asked.resume:
            with self._following.reserve():
                return await self._resume(asked, asked.resume, cursor)
        question = Question(message=asked.question(), metadata=asked.metadata)
        check_question(question, self._options)
        with self._following.reserve():
            return await self._ask(asked, question, cursor)

    async def _ask(self, asked: RunInput, question: Question, cursor: str | None) -> Response:
        # The chat first: a question that is in it has its run's key bound.
        view = await self.view(asked.threadId)
        try:
            job = await self.job(asked.runId, asked.threadId)
            if job.message != question.message:
                raise Conflict("the run's id was used for another question")
            job_id, again = job.id, job.retry_of
        except NotFound:
            again = asked.retried(view)
            job_id = await self._submit(asked, question, again)
        thread = asked.thread(view, job_id, again)
        return await self.follow(AgUiEncoder(job_id, asked.threadId, asked.runId, thread), cursor)

    async def _resume(
        self, asked: RunInput, answers: Sequence[Resumed], cursor: str | None
    ) -> Response:
        """The job goes on in another run. Answers that come again change nothing."""
        view = await self.view(asked.threadId)
        questions = [one for one in view.messages if one.role == "user"] if view else []
        if not questions:
            raise Conflict(_NOTHING_WAITS)
        found = await self._services.show_job(self._user.id, questions[-1].job_id)
        job_id, pauses = found.job.id, pauses_in(found.events)
        pause = next((one for one in pauses if one.asks(answers[0].interruptId)), None)
        if pause is None:
            raise Conflict(_NOTHING_WAITS)
        for index, answer in enumerate(answers):
            if answer.status != "resolved":
                raise wrong(f"resume.{index}.status", "must be resolved: to give up, stop the job")
        payloads: dict[str, Any] = {one.interruptId: one.payload for one in answers}
        await self._services.answer_input.all(self._user.id, job_id, payloads)
        thread = asked.thread(view, job_id)
        encoder = AgUiEncoder(job_id, asked.threadId, asked.runId, thread)
        return await self.follow(encoder, cursor or f"{pause.last}.1")

    async def follow(self, encoder: AgUiEncoder, cursor: str | None = None) -> Response:
        after, skip = position_of(cursor)
        try:
            return await self._following(
                encoder.job_id,
                lambda _: encoder,
                after,
                skip,
                closing=lambda waiting: closing_of(encoder, waiting),
            )
        except Finished:
            return Response(status_code=204)

    async def _submit(self, asked: RunInput, question: Question, again: JobId | None) -> JobId:
        accepted = await self._services.submit(
            NewMessage(
                user=self._user.id,
                request_id=self._request_id,
                session=asked.threadId,
                message=question.message if again is None else None,
                message_id=asked.question_id,
                retry_of=again,
                metadata=asked.metadata,
                idempotency_key=run_key(asked.threadId, asked.runId),
                sticky=self._user.sticky,
            )
        )
        await self._services.sessions.name_run(self._user.id, asked.runId, accepted)
        return accepted.job_id


RunsDep = Annotated[Runs, Depends(Runs)]
