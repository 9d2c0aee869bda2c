"""One silent call of a LangChain chat model, and what its message says."""

from typing import NamedTuple, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from .answers import SILENT
from .openai_errors import UPSTREAM_FAILURES, of_failure

SILENTLY: RunnableConfig = {"tags": [SILENT]}


class StreamedCall(NamedTuple):
    name: str
    arguments: str


async def whole(
    model: Runnable[LanguageModelInput, AIMessage], messages: LanguageModelInput
) -> AIMessage:
    """Streamed and merged here: LangChain's own merging mends broken tool arguments."""
    try:
        parts = [part async for part in model.astream(messages, SILENTLY)]
    except UPSTREAM_FAILURES as failure:
        raise of_failure(failure) from failure
    match parts:
        case [AIMessageChunk() as first, *rest]:
            return add_ai_message_chunks(first, *cast("list[AIMessageChunk]", rest))
        case _:  # a model that does not stream gives its message whole
            return parts[0]


def text_in(message: AIMessage) -> str:
    """A chat model's content may also be a list of blocks."""
    content = message.content
    return content if type(content) is str else str(message.text)


def streamed_call_in(message: AIMessage) -> StreamedCall | None:
    """The first tool call, as it came: its arguments may be broken."""
    if not isinstance(message, AIMessageChunk) or not message.tool_call_chunks:
        return None
    call = min(message.tool_call_chunks, key=lambda each: each["index"] or 0)
    return StreamedCall(call["name"] or "", call["args"] or "")


def finish_reason_of(message: AIMessage) -> str | None:
    return message.response_metadata.get("finish_reason")
