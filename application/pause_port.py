"""Where jobs that wait for a human are kept; it shares the database of the store of chats."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from sluice.domain.chat import Job, JobId, now
from sluice.domain.events import Json
from sluice.domain.graph_state import InputRequest, Pause, Resumption


@dataclass(frozen=True, slots=True)
class KeptPause:
    """A pause of a job, with the answers that have come so far, by `input_id`.

    `attempt` made it, when the job had run for `spent` seconds in all. `closed`: the job is over.
    """

    pause: Pause
    attempt: int
    expires_at: datetime
    spent: float = 0
    answers: Mapping[str, Json] = field(default_factory=dict)
    closed: bool = False

    @property
    def missing(self) -> list[InputRequest]:
        return [one for one in self.pause.requests if one.input_id not in self.answers]

    @property
    def waits(self) -> bool:
        return bool(self.missing) and not self.expired

    @property
    def expired(self) -> bool:
        return self.expires_at <= now()

    def with_answer(self, input_id: str, value: Json) -> "KeptPause":
        return replace(self, answers={**self.answers, input_id: value})

    @property
    def resumption(self) -> Resumption:
        return Resumption(self.pause, self.answers)


class PausePort(Protocol):
    """What jobs have asked people, and what these have answered; gone with the chat."""

    async def keep(self, job: Job, kept: KeptPause) -> None:
        """Makes it the job's last pause, outlasting an outage.

        Raises NotFound if its chat is gone, Superseded if a later attempt has kept one.
        """
        ...

    async def last(self, job_id: JobId) -> KeptPause | None: ...

    async def asking(self, job_id: JobId, input_id: str) -> KeptPause | None:
        """The job's pause that has asked that."""
        ...

    async def answer(self, job_id: JobId, input_id: str, value: Json) -> KeptPause:
        """Adds the answer, and returns the pause with it; the same one again changes nothing.

        Raises NotFound if it was never asked, Conflict if it was answered otherwise.
        """
        ...

    async def close(self, job_id: JobId) -> None:
        """The job is over: what it has asked is known for as long as its log can be read."""
        ...

    async def forget(self) -> None:
        """Deletes what is known no more. Raises Unavailable."""
        ...
