"""What a human answers to a thread's interrupts."""

from typing import Any

from sluice.domain.chat import JobId
from sluice.domain.errors import Conflict
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.services import Services
from sluice.interfaces.protocols.langgraph.threads import chat_of
from sluice.interfaces.protocols.pauses import asked_last, pauses_in, pending_in


async def answer(
    thread: str, given: Any, services: Services, user: User, *, named: bool = False
) -> JobId:
    """The job that has asked. Answers come by their questions' ids or, unless they must be
    `named`, one for the only question that waits. Those that come again change nothing.

    Raises NotFound, Conflict where nothing has asked that, and what AnswerInput raises.
    """
    chat = await chat_of(services, user.id, thread)
    view = await services.show_chat(user.id, chat.id)
    jobs = [one.job_id for one in view.messages if one.role == "user"]
    if not jobs:
        raise Conflict("nothing in this thread waits for an answer")
    found = await services.show_job(user.id, view.active_job_id or jobs[-1])
    last = [one.input_id for one in pending_in(found) or asked_last(found.events)]
    asked = {one.input_id for pause in pauses_in(found.events) for one in pause.questions}
    answers = given if isinstance(given, dict) and given.keys() & asked else None
    if answers is None and len(last) == 1 and not named:
        answers = {last[0]: given}
    if not answers or not answers.keys() <= asked:
        raise Conflict("nothing in this thread waits for that answer")
    await services.answer_input.all(user.id, found.job.id, answers)
    return found.job.id
