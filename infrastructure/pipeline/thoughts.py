"""What a model has thought aloud, in the forms in which LangChain's integrations report it."""

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

_WORDS = ("reasoning_content", "reasoning", "thinking", "text", "summary")


def thought_in(message: BaseMessage) -> str:
    """Of a chunk or a whole message; empty where it has none.

    In `additional_kwargs` (DeepSeek, Groq, Ollama, our own client), or as blocks of the content
    (the Responses API, Anthropic, Google, Bedrock).
    """
    beside = message.additional_kwargs
    if beside and (said := beside.get("reasoning_content") or beside.get("reasoning")):
        return "".join(_texts(said))
    if isinstance(message.content, str):
        return ""
    return "".join(
        text
        for block in message.content
        if isinstance(block, Mapping) and block.get("type") in ("thinking", *_WORDS[:2])
        for text in _texts(block)
    )


def _texts(said: Any) -> Iterator[str]:
    """A text, an object that holds one under one of its names, or a list of these."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, Mapping):
        held = (said[word] for word in _WORDS if said.get(word))
        yield from _texts(next(held, ""))
    elif isinstance(said, list):
        for each in said:
            yield from _texts(each)
