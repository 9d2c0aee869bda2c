"""What `useChat` sends. Its messages say what is asked; what was said before is ours to know."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sluice.application.chats import ChatView
from sluice.domain.chat import JobId
from sluice.domain.errors import Conflict
from sluice.interfaces.http.models import Model, Several
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.protocols.ai_sdk.encoder import message_id


class _Sent(BaseModel):
    """Unknown fields are ignored: applications add their own."""

    model_config = ConfigDict(strict=True, frozen=True)


class Approval(_Sent):
    id: str
    approved: bool | None = None
    reason: str | None = None


class Part(_Sent):
    type: str
    text: str | None = None
    state: str | None = None
    approval: Approval | None = None


class UIMessage(_Sent):
    role: str
    parts: Several[Part] = []

    @property
    def text(self) -> str:
        return "".join(part.text or "" for part in self.parts if part.type == "text")


class ChatRequest(_Sent):
    """`tools`: the application's own, which nobody would call here."""

    id: Annotated[str, Field(min_length=1, max_length=128)]
    messages: Several[UIMessage]
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    messageId: str | None = None  # noqa: N815 - the protocol's name
    model: Model | None = None
    metadata: dict[str, JsonValue] = {}
    tools: JsonValue = None

    def approvals(self) -> dict[str, Approval]:
        """What was said to a job that asks, by the questions' ids: the last message is its own."""
        parts = self.messages[-1].parts if self.messages else ()
        if not self.messages or self.messages[-1].role != "assistant":
            return {}
        said = [one.approval for one in parts if one.state == "approval-responded"]
        return {one.id: one for one in said if one and one.approved is not None}

    def question(self) -> str:
        """The last message of the user. Raises Problem 422 for what would be left out of it."""
        if self.tools:
            raise wrong("tools", "the pipeline has its own")
        asked = [index for index, one in enumerate(self.messages) if one.role == "user"]
        if not asked:
            raise wrong("messages", "holds none of the user")
        last = self.messages[asked[-1]]
        for index, part in enumerate(last.parts):
            if part.type == "file":
                raise wrong(f"messages.{asked[-1]}.parts.{index}", "files are not taken")
        if not last.text.strip():
            raise wrong(f"messages.{asked[-1]}", "must not be blank")
        return last.text

    def retried(self, view: ChatView | None) -> JobId | None:
        """The job whose question is asked again; None for a new question.

        Raises Conflict where an earlier message of the chat would be written anew.
        """
        questions = [one for one in view.messages if one.role == "user"] if view else []
        shown = sum(one.role == "user" for one in self.messages)
        if self.trigger == "submit-message":
            if self.messageId is not None and shown <= len(questions):
                raise Conflict("a message that was answered cannot be edited")
            return None
        same = bool(questions) and questions[-1].content == self.question()
        if not same and shown > len(questions):
            return None  # it never reached us
        jobs = {message_id(one.job_id): one.job_id for one in questions}
        last = questions[-1].job_id
        if not same or jobs.get(self.messageId or "", last) != last:
            raise Conflict("only the last answer of a chat can be made anew")
        return last
