"""Every way in which a call of a user's own client fails, and what it is called in the domain.

Our own errors are of the SDK's family, so that users' retries and fallbacks act on them.
"""

import opcode
from collections.abc import Iterator
from types import TracebackType

import httpx2
import openai
from langchain_core import exceptions as langchain

from sluice.domain import errors
from sluice.domain.errors import ChatError
from sluice.infrastructure.llm.failures import of_error
from sluice.infrastructure.llm.openai_errors import UPSTREAM_FAILURES, of_failure, timed_out


class CutAnswer(openai.APIConnectionError):
    """A streamed answer that ended properly, without a finish reason."""


class NoAnswer(openai.APIConnectionError):
    """What came is not the protocol: a page of HTML, or JSON of another kind."""


class NamedFailure(openai.APIError):
    """The upstream said inside the answer that it failed, and the SDK passed it on. Its cause is
    the domain's name for that.
    """

    def __init__(self, request: httpx2.Request) -> None:
        super().__init__("the upstream named a failure", request, body=None)


_RAISE = opcode.opmap["RAISE_VARARGS"]
_CLIENTS = ("openai.", "langchain_openai.", "sluice.infrastructure.openai_sdk.")

_READ_BY_LANGCHAIN = ("_convert_responses_chunk_to_generation_chunk", "_create_chat_result")
"""Where langchain-openai raises a ValueError of a failure that an answer names."""

_BROKEN = (
    "aiohttp.client_exceptions.ClientPayloadError",
    "httpx.ReadError",
    "httpx.RemoteProtocolError",
    "httpx2.ReadError",
    "httpx2.RemoteProtocolError",
)
"""By name: other people's clients may be built on a library that is not installed here."""

_NEUTRAL: tuple[tuple[str, type[ChatError]], ...] = (
    ("ModelAuthenticationError", errors.UpstreamAuth),
    ("ModelPermissionDeniedError", errors.UpstreamAuth),
    ("ModelRateLimitError", errors.UpstreamRateLimited),
    ("ModelTimeoutError", errors.UpstreamTimeout),
    ("ModelConnectionError", errors.UpstreamUnavailable),
    ("ModelInvalidRequestError", errors.UpstreamError),
    ("ModelNotFoundError", errors.UpstreamError),
    ("ModelAPIError", errors.UpstreamUnavailable),
    ("ModelRefusalError", errors.UpstreamBadResponse),
    ("ContextOverflowError", errors.UpstreamError),
)
"""langchain-core's errors for every provider; older ones lack some of them. In the order of the
tests: a class before those it is derived from."""


def classify(error: BaseException) -> ChatError | None:
    """The domain's error for what left a graph; None if no model call is behind it.

    Looks through exception groups and causes, and through what was being handled where another
    was raised on purpose. What a tool or a fallback has mended does not leave the graph, and
    never gets here; what fails by itself while an error is handled is a failure of its own.
    """
    for link in _chain(error):
        if found := _of(link):
            return found
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting[:0] = link.exceptions
        if link.__cause__ is not None:
            waiting.insert(0, link.__cause__)
        elif link.__context__ is not None and _raised_on_purpose(link, link.__context__):
            waiting.insert(0, link.__context__)


def _raised_on_purpose(error: BaseException, handled: BaseException) -> bool:
    """By a `raise` of the very frame that was handling the other, and not `from None`."""
    traceback = error.__traceback__
    if error.__suppress_context__ or traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame, at = traceback.tb_frame, traceback.tb_lasti
    frames, other = [], handled.__traceback__
    while other is not None:
        frames.append(other.tb_frame)
        other = other.tb_next
    return frame.f_code.co_code[at] == _RAISE and any(frame is each for each in frames)


def _of(error: BaseException) -> ChatError | None:
    if isinstance(error, ChatError):
        return error
    if isinstance(error, openai.OpenAIError):
        return _of_sdk(error)
    for name, ours in _NEUTRAL:
        theirs = getattr(langchain, name, None)
        if theirs is not None and isinstance(error, theirs):
            return errors.UpstreamDisconnected() if _broken(error) else ours()
    return _of_a_call(error) if _came_through_a_client(error.__traceback__) else None


def _of_sdk(error: openai.OpenAIError) -> ChatError:
    """Of a connection that failed its causes say how: the SDK has one name for it."""
    links = list(_causes(error))
    inner = next((link for link in links if isinstance(link, ChatError)), None)
    if inner is not None:
        return inner
    connections = [link for link in links if isinstance(link, openai.APIConnectionError)]
    if not isinstance(error, openai.APIConnectionError) or timed_out(error):
        return of_failure(error)
    if any(isinstance(link, CutAnswer) for link in connections):
        return errors.UpstreamTruncated("no finish reason")
    if any(isinstance(link, NoAnswer) for link in connections):
        return errors.UpstreamBadResponse("no answer of the protocol")
    for link in links:
        if isinstance(link, httpx2.DecodingError):
            return of_failure(link)
    if _broken(error) and not _asking(connections[-1].__traceback__):
        return errors.UpstreamDisconnected()
    return of_failure(error)


def _asking(traceback: TracebackType | None) -> bool:
    """Whether the SDK raised it before it had an answer, and not while it read one."""
    return _raised_in(traceback) == "request"


def _raised_in(traceback: TracebackType | None) -> str:
    """The function's name."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_name if traceback is not None else ""


def _came_through_a_client(traceback: TracebackType | None) -> bool:
    """An HTTP or JSON error of the user's own, of a tool that asks for the weather, did not."""
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__")).startswith(_CLIENTS):
            return True
        traceback = traceback.tb_next
    return False


def _of_a_call(error: BaseException) -> ChatError | None:
    """An error that is not of the SDK's family, although a call raised it."""
    if isinstance(error, ValueError) and _raised_in(error.__traceback__) in _READ_BY_LANGCHAIN:
        return of_error(list(error.args))
    known = isinstance(error, UPSTREAM_FAILURES) or timed_out(error) or _broken(error)
    return of_failure(error) if known else None


def _broken(error: BaseException) -> bool:
    """The connection broke, also where a transport calls that a timeout."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" in _BROKEN
        for link in _causes(error)
        for kind in type(link).__mro__
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__
