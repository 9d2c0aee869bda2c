"""What an AG-UI client sends: the thread's messages, the last of the user being the question."""

from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sluice.application.chats import ChatView
from sluice.application.compact_json import compact
from sluice.domain.chat import Job, JobId, Message
from sluice.domain.errors import Conflict
from sluice.interfaces.http.models import Several
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.protocols.ag_ui.events import message_id

_LONGEST_ID = 128
_ANEW = "an earlier message of the thread cannot be written anew"

Name = Annotated[str, Field(min_length=1, max_length=128)]


class Resumed(BaseModel):
    """An answer to an interrupt."""

    model_config = ConfigDict(strict=True, frozen=True)

    interruptId: str  # noqa: N815
    status: str = "resolved"
    payload: JsonValue = None


class RunInput(BaseModel):
    """`tools` are the client's, and `state` is shared with it: neither would reach the graph."""

    model_config = ConfigDict(strict=True, frozen=True)

    threadId: Name  # noqa: N815 - the protocol's names
    runId: Name  # noqa: N815
    messages: Several[dict[str, JsonValue]] = []
    tools: JsonValue = None
    state: JsonValue = None
    resume: Several[Resumed] | None = None
    context: JsonValue = None
    forwardedProps: JsonValue = None  # noqa: N815

    @property
    def metadata(self) -> dict[str, Any]:
        """For the graph."""
        sent = {"context": self.context, "forwardedProps": self.forwardedProps}
        return {name: value for name, value in sent.items() if value}

    def thread(self, view: ChatView | None, *jobs: JobId | None) -> str:
        """The thread up to the question, which is that of these jobs, as JSON.

        It is the client's own, by its own ids, and only this client is told it again; if it sends
        less than there is, as some are set up to, the rest is ours. A null would be an error to it.
        """
        asked = [index for index, one in enumerate(self.messages) if one.get("role") == "user"]
        if not asked:  # an answer may come alone
            return _up_to_question(view, jobs)
        known = _before(view, jobs)
        if sum(one.role == "user" for one in known) < len(asked):
            return compact([_without_null(one) for one in self.messages[: asked[-1] + 1]])
        return compact([*shown(known), _without_null(self.messages[asked[-1]])])

    def question(self) -> str:
        """Raises Problem 422 for what would be left out of it, and for what is not there."""
        for field in ("tools", "state"):
            if getattr(self, field):
                raise wrong(field, "is not supported here, and must be empty")
        asked = self.questions()
        if not asked:
            raise wrong("messages", "holds none of the user")
        if not asked[-1].strip():
            raise wrong("messages", "the user's last one must not be blank")
        return asked[-1]

    @property
    def question_id(self) -> str | None:
        """The client's own, which the chat keeps; None if it is none that can be kept."""
        asked = [one.get("id") for one in self.messages if one.get("role") == "user"]
        own = asked[-1] if asked else None
        return own if isinstance(own, str) and 0 < len(own) <= _LONGEST_ID else None

    def questions(self) -> list[str]:
        return [
            _text(f"messages.{index}", one.get("content"))
            for index, one in enumerate(self.messages)
            if one.get("role") == "user"
        ]

    def retried(self, view: ChatView | None) -> JobId | None:
        """The job whose question is asked again; None for a new question.

        There is no word for it in the protocol: the client shows as many questions as were asked,
        the last as it stands. Raises Conflict where an earlier message would be written anew: by
        its id, or because what the client shows is only the chat's beginning.
        """
        kept = [one for one in view.messages if one.role == "user"] if view else []
        ids = [one.id for one in kept]
        if self.question_id in ids and self.question_id != ids[-1]:
            raise Conflict(_ANEW)
        *before, last = self.questions()
        texts = [one.content for one in kept]
        if kept and [*before, last] == texts:
            return kept[-1].job_id
        if before and len(before) < len(texts) and before == texts[: len(before)]:
            raise Conflict(_ANEW)
        if self.question_id in ids and last != texts[-1]:
            raise Conflict(_ANEW)
        return None


def _text(field: str, content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [one["text"] for one in parts if isinstance(one, dict) and _is_text(one)]
    if not parts or len(texts) < len(parts):
        raise wrong(field, "only text is taken")
    return "".join(texts)


def _is_text(part: dict[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_null(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_null(one) for one in value]
    return value


def shown(messages: Sequence[Message]) -> list[dict[str, str]]:
    """A chat's messages in the protocol's form; of several answers to one question the last."""
    found: list[dict[str, str]] = []
    for one in messages:
        if one.role == "assistant" and found and found[-1]["role"] == "assistant":
            found.pop()
        own = one.id if one.role == "user" else message_id(one.job_id)
        found.append({"id": own, "role": one.role, "content": one.content})
    return found


def thread_before(view: ChatView, job: Job) -> str:
    """The chat up to the job's question, as JSON: for who comes without messages of its own."""
    return _up_to_question(view, [job.id])


def _up_to_question(view: ChatView | None, jobs: Collection[JobId | None]) -> str:
    messages = view.messages if view else ()
    return compact(shown(messages[: len(_before(view, jobs)) + 1]))


def _before(view: ChatView | None, jobs: Collection[JobId | None]) -> list[Message]:
    messages = view.messages if view else ()
    return list(takewhile(lambda one: one.role != "user" or one.job_id not in jobs, messages))
