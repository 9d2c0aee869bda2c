"""Why a LangChain model's answer ended, in the words of its provider, and which ended too early.

An answer without a reason may have been cut, or its provider gives none. OpenAI's are judged by
their client, which sees the body's end. Of other models the rule is: a model is judged only when
each of its first three streamed texts in this process had a reason. Who leaves one out among
those is never judged; nor are calls for tools, and answers in one piece. A reason that names a
failure is one of whichever model: what came before it is half an answer.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage

from sluice.infrastructure.openai_sdk.ends import failure_of, responses_finish_reason

_WORDS = ("finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason")
_SAID_AGAIN = re.compile("(stop|length|tool_calls|content_filter|function_call){2,}")
"""LangChain joins what a server says in several chunks; the last counts."""
_ENOUGH = 3

Model = tuple[str, str]
"""Provider and name, as LangChain knows them."""


def model_of(metadata: Mapping[str, Any]) -> Model:
    return str(metadata.get("ls_provider", "")), str(metadata.get("ls_model_name", ""))


def finish_reason_of(message: AIMessage) -> str | None:
    told = message.response_metadata
    for word in _WORDS:
        if isinstance(reason := told.get(word), str) and reason:
            again = _SAID_AGAIN.fullmatch(reason)
            return again[1] if again else reason
    called = bool(message.tool_calls)
    return responses_finish_reason(
        told.get("status"), told.get("incomplete_details"), called=called
    )


class FinishReasons:
    """What the models of a graph have told so far; from any thread."""

    def __init__(self) -> None:
        self._told: Counter[Model] = Counter()
        self._silent: set[Model] = set()

    def is_cut(
        self, model: Model, message: AIMessage, *, streamed: bool, reason: str | None = None
    ) -> bool:
        """Learns of an answer, and says whether it failed, or lacks the reason it must have had.

        `reason`: as its client has heard it, if it has.
        """
        if message.tool_calls or not str(message.text):
            return False
        reason = reason or finish_reason_of(message)
        if failure_of(reason):
            return True
        if not streamed:
            return False
        if reason is not None:
            self._told[model] += 1
            return False
        if self._told[model] < _ENOUGH:
            self._silent.add(model)
        return model not in self._silent
