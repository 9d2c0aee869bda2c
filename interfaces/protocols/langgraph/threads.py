"""A chat as a thread, and as the one state that is known of it: the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluice.application.jobs import JobView
from sluice.domain.chat import Chat, JobId, JobStatus, Message, UserId
from sluice.domain.errors import NotFound
from sluice.interfaces.http.services import Services
from sluice.interfaces.protocols.langgraph.messages import Form, answer_of, draft_of, form_of
from sluice.interfaces.protocols.pauses import pauses_in, pending_in

NODE = "answer"
"""What a thread whose run is not over says to come next."""
RUN_STATUS: dict[JobStatus, str] = {
    "queued": "pending",
    "running": "running",
    "waiting": "interrupted",
    "completed": "success",
    "failed": "error",
    "cancelled": "interrupted",
}


async def chat_of(services: Services, user: UserId, thread: str) -> Chat:
    """The user's chat of that session name, or else of that id. Raises NotFound."""
    found = await services.names.find(user, thread)
    return await services.chats.chat(user, found or thread)


@dataclass(frozen=True, slots=True)
class Thread:
    """`running` is the job that is not over, `last` the newest that is, while its log is kept.

    While one runs, others may wait behind it: then `last` is the newest that has an answer.
    """

    id: str
    chat: Chat
    messages: Sequence[Message]
    running: JobView | None
    last: JobView | None

    @property
    def head(self) -> str | None:
        """The checkpoint's id: the newest job's."""
        return self.messages[-1].job_id if self.messages else None

    @property
    def status(self) -> str:
        if self.running is not None:
            return "interrupted" if self.running.status == "waiting" else "busy"
        return "error" if self._ended == "failed" else "idle"

    @property
    def _ended(self) -> JobStatus | None:
        """How the newest job ended. One that failed without a word has no message to tell it."""
        if self.last is not None:
            return self.last.status
        return self.messages[-1].status if self.messages else None

    @property
    def since(self) -> datetime:
        """When the newest answer came, but never after the running job was taken.

        Clients drop events that are older than the state they have read.
        """
        answers = [one.created_at for one in self.messages if one.role == "assistant"]
        came = answers[-1] if answers else self.chat.created_at
        return came if self.running is None else min(came, self.running.job.created_at)

    def values(self, *, draft: bool) -> dict[str, Any]:
        """`draft`: with what the running job has said so far."""
        forms = list[Form]()
        last, job = self.last, self.running
        answered = {one.job_id for one in self.messages if one.role == "assistant"}
        wordless = last if last and last.job.id not in answered else None
        for message in self.messages:
            if last is not None and _is_answer(message, last.job.id):
                said = answer_of(message.job_id, message.content, last.resets)
                forms += draft_of(last.events).forms(message.job_id, said)
            else:
                forms.append(form_of(message))
            if draft and job and (message.job_id, message.role) == (job.job.id, "user"):
                answer = answer_of(job.job.id, job.text, job.resets) if job.text else None
                forms += draft_of(job.events).forms(job.job.id, answer)
            if wordless and (message.job_id, message.role) == (wordless.job.id, "user"):
                forms += draft_of(wordless.events).forms(wordless.job.id)
        return {"messages": forms}

    def state(self, *, draft: bool) -> dict[str, Any]:
        at = {"thread_id": self.id, "checkpoint_ns": "", "checkpoint_id": self.head}
        return {
            "values": self.values(draft=draft),
            "next": [NODE] if self.running is not None else [],
            "tasks": self._tasks,
            "interrupts": self.interrupts,
            "checkpoint": at if self.head is not None else None,
            "parent_checkpoint": None,
            "metadata": {},
            "created_at": self.since.isoformat(),
        }

    @property
    def interrupts(self) -> list[dict[str, Any]]:
        """What the running job waits for."""
        asked = pending_in(self.running) if self.running is not None else ()
        return [{"id": one.input_id, "value": one.prompt} for one in asked]

    @property
    def _tasks(self) -> list[dict[str, Any]]:
        if self.running is None or not self.interrupts:
            return []
        return [{"id": self.running.job.id, "name": NODE, "interrupts": self.interrupts}]

    def history(self) -> Sequence[dict[str, Any]]:
        return [self.state(draft=True)] if self.head is not None else []

    def body(self) -> dict[str, Any]:
        chat = self.chat
        return {
            "thread_id": self.id,
            "created_at": chat.created_at.isoformat(),
            "updated_at": self.since.isoformat(),
            "state_updated_at": self.since.isoformat(),
            "metadata": {} if chat.title is None else {"title": chat.title},
            "status": self.status,
            "config": {},
            "values": self.values(draft=False),
            "interrupts": {one["id"]: [one] for one in self.interrupts},
        }


async def thread_of(services: Services, chat: Chat, thread: str) -> Thread:
    while True:
        view = await services.show_chat(chat.user, chat.id)
        running = await _job(services, chat.user, view.active_job_id)
        if running is None or running.ended_at is None:
            break  # else it ended in between, and its answer may not be among the messages
    # An answer is kept before its job's end is told: until then its job is what tells it.
    told = [one for one in view.messages if not (running and _is_answer(one, running.job.id))]
    over = [one.job_id for one in told if running is None or one.role == "assistant"]
    last = await _job(services, chat.user, over[-1] if over else None)
    return Thread(thread, chat, told, running, last)


def _is_answer(message: Message, job_id: JobId) -> bool:
    return message.role == "assistant" and message.job_id == job_id


async def _job(services: Services, user: UserId, job_id: str | None) -> JobView | None:
    """None past its retention."""
    if job_id is None:
        return None
    try:
        return await services.show_job(user, job_id)
    except NotFound:
        return None


def run_of(job: JobView, thread: str, part: int = 0) -> dict[str, Any]:
    """`part`: behind how many of the job's pauses. A run that another one follows has asked."""
    followed = len(pauses_in(job.events)) > part
    at = job.job.created_at.isoformat()
    return {
        "run_id": f"{job.job.id}.{part + 1}" if part else job.job.id,
        "thread_id": thread,
        "assistant_id": "sluice",
        "created_at": at,
        "updated_at": at if job.ended_at is None else job.ended_at.isoformat(),
        "status": "interrupted" if followed else RUN_STATUS[job.status],
        "metadata": {},
        "kwargs": {},
        "multitask_strategy": "enqueue",
    }
