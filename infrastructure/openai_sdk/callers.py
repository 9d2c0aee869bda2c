"""Who makes a call: found on the stack, where awaiting coroutines stand below one another.

A context variable set when a LangChain model starts would also hide the raw call that a node
makes between two chunks of that model.
"""

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.language_models import BaseLanguageModel

_READERS = frozenset(
    {
        "_agenerate",
        "_astream",
        "_astream_responses",
        "_generate",
        "_stream",
        "_stream_responses",
        "_acall",
        "_call",
    }
)
"""Methods of a LangChain model in which an answer is read."""
_INVOKED = frozenset({"_agenerate_with_cache", "_generate_with_cache"})
_STREAMED = frozenset({"astream", "stream"})
_LANGCHAIN_OPENAI = "langchain_openai.chat_models.base"


class Caller(NamedTuple):
    """`model` is the LangChain model that reads the answer, if there is one.

    `run` is that model's callback manager for this run. `plain`: langchain-openai's own code
    turns the chunks into messages, so it may be given dicts. `invoked`: besides, nothing but
    langchain-core's merging of chunks stands above it.
    """

    model: Any = None
    run: Any = None
    plain: bool = False
    invoked: bool = False


def caller() -> Caller:
    """The caller of a request, when called in the method that makes it."""
    frames = _frames(sys._getframe(1))
    if (reader := _reader(frames)) is None:
        return Caller()
    return _of(reader.f_locals["self"], reader, frames)


def run_around() -> UUID | None:
    """The run of the LangChain model in which another one's begins, when called at its start."""
    frames = _frames(sys._getframe(1))
    if (reader := _reader(frames)) is None:
        return None
    found = _of(reader.f_locals["self"], reader, frames).run
    run = reader.f_locals.get("run_manager") if found is None else found  # a thread of the model's
    return getattr(run, "run_id", None)


def _reader(frames: Iterator[FrameType]) -> FrameType | None:
    """The first frame in which a LangChain model reads an answer; those above it are left."""
    readers = (frame for frame in frames if frame.f_code.co_name in _READERS)
    return next((r for r in readers if isinstance(r.f_locals.get("self"), BaseLanguageModel)), None)


def _of(model: BaseLanguageModel[Any], reader: FrameType, above: Iterator[FrameType]) -> Caller:
    plain = _plain(model, reader)
    untouched = plain
    for frame in above:
        name = frame.f_code.co_name
        if name in _INVOKED or name in _STREAMED:
            local = frame.f_locals
            if local.get("self") is model and "run_manager" in local:
                return Caller(model, local["run_manager"], plain, untouched and name in _INVOKED)
        if frame.f_globals.get("__name__") != _LANGCHAIN_OPENAI:
            untouched = False  # a subclass of the user's, which may change what it passes on
    return Caller(model, None, plain)


def _plain(model: BaseLanguageModel[Any], reader: FrameType) -> bool:
    base = getattr(sys.modules.get(_LANGCHAIN_OPENAI), "BaseChatOpenAI", None)
    if base is None or not isinstance(model, base):
        return False
    convert = "_convert_chunk_to_generation_chunk"
    return (
        reader.f_code in (base._astream.__code__, base._stream.__code__)
        and {"isinstance", "dict"} <= {*reader.f_code.co_names}  # as older ones do not take it
        and getattr(type(model), convert, None) is getattr(base, convert, model)
        and "response_format" not in reader.f_locals.get("payload", ("response_format",))
    )


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
