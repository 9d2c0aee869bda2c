"""What an exception says of the model call behind it, wherever it stands among the others."""

import json
from types import FunctionType
from typing import Any

import aiohttp
import httpx2
import openai
import pytest
from langchain_core import exceptions as langchain

from sluice.domain.errors import (
    ChatError,
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnavailable,
)
from sluice.infrastructure.llm.openai_errors import of_failure
from sluice.infrastructure.openai_sdk.failures import CutAnswer, NamedFailure, NoAnswer, classify

REQUEST = httpx2.Request("POST", "http://x")
LIMITED = UpstreamRateLimited()


def like(module: str, name: str, *bases: type[Exception]) -> Exception:
    """Of a library that need not be installed."""
    kind = type(name, bases or (Exception,), {"__module__": module})
    error = kind("secret")
    assert isinstance(error, Exception)
    return error


def caused(error: Exception, cause: Exception | None) -> Exception:
    error.__cause__ = cause
    return error


def raised(error: Exception, module: str = "mine", function: str = "f") -> Exception:
    """By a function of that module and name."""

    def f() -> None:
        raise error

    code = f.__code__.replace(co_name=function)
    try:
        FunctionType(code, {"__name__": module}, closure=f.__closure__)()
    except Exception as seen:  # noqa: BLE001 - which is what is looked at
        return seen
    raise AssertionError


def status(number: int) -> openai.APIStatusError:
    response = httpx2.Response(number, request=REQUEST)
    return openai.APIStatusError("secret", response=response, body=None)


def kind(error: BaseException) -> type[ChatError] | None:
    found = classify(error)
    return None if found is None else type(found)


def connection(cause: Exception | None = None) -> Exception:
    return caused(openai.APIConnectionError(request=REQUEST), cause)


def late(cause: Exception | None = None) -> Exception:
    return caused(openai.APITimeoutError(REQUEST), cause)


BROKEN = aiohttp.ClientPayloadError("secret")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LIMITED, UpstreamRateLimited),
        (status(401), UpstreamAuth),
        (status(503), UpstreamUnavailable),
        (openai.OpenAIError("secret"), UpstreamError),
        (late(), UpstreamTimeout),
        (late(TimeoutError()), UpstreamTimeout),
        (late(aiohttp.ServerTimeoutError()), UpstreamTimeout),
        (late(httpx2.ReadError("x")), UpstreamTimeout),
        (caused(status(503), BROKEN), UpstreamUnavailable),
        (late(BROKEN), UpstreamDisconnected),
        (late(caused(httpx2.ReadTimeout("x"), BROKEN)), UpstreamDisconnected),
        (raised(late(BROKEN), "openai._base_client", "request"), UpstreamUnavailable),
        (connection(), UpstreamUnavailable),
        (connection(LIMITED), UpstreamRateLimited),
        (connection(httpx2.DecodingError("x")), UpstreamBadResponse),
        (connection(BROKEN), UpstreamDisconnected),
        (raised(connection(BROKEN), "openai._base_client", "request"), UpstreamUnavailable),
        (connection(like("httpx", "ReadError")), UpstreamDisconnected),
        (connection(like("httpx", "RemoteProtocolError")), UpstreamDisconnected),
        (connection(like("httpx", "ConnectError")), UpstreamUnavailable),
        (connection(CutAnswer(request=REQUEST)), UpstreamTruncated),
        (connection(NoAnswer(request=REQUEST)), UpstreamBadResponse),
        (CutAnswer(request=REQUEST), UpstreamTruncated),
        (NoAnswer(request=REQUEST), UpstreamBadResponse),
        (ValueError("the user's own"), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_an_error_of_the_sdk_is_what_its_causes_say(
    error: BaseException, expected: type[ChatError] | None
) -> None:
    assert kind(error) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ModelAuthenticationError", UpstreamAuth),
        ("ModelPermissionDeniedError", UpstreamAuth),
        ("ModelRateLimitError", UpstreamRateLimited),
        ("ModelTimeoutError", UpstreamTimeout),
        ("ModelConnectionError", UpstreamUnavailable),
        ("ModelAPIError", UpstreamUnavailable),
        ("ModelInvalidRequestError", UpstreamError),
        ("ModelNotFoundError", UpstreamError),
        ("ContextOverflowError", UpstreamError),
    ],
)
def test_an_error_that_langchain_has_for_every_provider(
    name: str, expected: type[ChatError]
) -> None:
    theirs = getattr(langchain, name, None)
    if theirs is None:
        pytest.skip("this langchain-core does not have it")
    assert kind(theirs("no")) is expected
    assert kind(caused(theirs("no"), BROKEN)) is UpstreamDisconnected


STRANGE: list[tuple[Exception, type[ChatError] | None]] = [
    (TimeoutError(), UpstreamTimeout),
    (like("theirs", "ReadTimeoutError"), UpstreamTimeout),
    (json.JSONDecodeError("x", "", 0), UpstreamBadResponse),
    (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), UpstreamBadResponse),
    (OSError(), UpstreamDisconnected),
    (aiohttp.ClientConnectionError(), UpstreamDisconnected),
    (like("httpx", "ReadError"), UpstreamDisconnected),
    (like("theirs", "Wrapped"), None),
    (caused(like("theirs", "Wrapped"), like("httpx", "ReadError")), UpstreamDisconnected),
]


@pytest.mark.parametrize(("error", "expected"), STRANGE)
@pytest.mark.parametrize(
    "module",
    ["openai.resources", "langchain_openai.chat_models", "sluice.infrastructure.openai_sdk.calls"],
)
def test_another_error_that_came_through_a_client_is_what_it_is(
    error: Exception, expected: type[ChatError] | None, module: str
) -> None:
    assert kind(raised(error.with_traceback(None), module)) is expected


@pytest.mark.parametrize(("error", "expected"), STRANGE)
def test_the_same_error_of_the_users_own_is_theirs(error: Exception, expected: Any) -> None:
    error = error.with_traceback(None)
    if error.__cause__ is None:
        assert kind(error) is None
        assert kind(raised(error, "openai_of_my_own")) is None


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (({"code": 429},), UpstreamRateLimited),
        (("server_error: overloaded",), UpstreamUnavailable),
        (("utf-8", "overloaded"), UpstreamError),
        ((), UpstreamError),
    ],
)
@pytest.mark.parametrize(
    "function", ["_convert_responses_chunk_to_generation_chunk", "_create_chat_result"]
)
def test_a_failure_that_langchain_reads_in_an_answer_is_what_it_says(
    args: tuple[object, ...], expected: type[ChatError], function: str
) -> None:
    module = "langchain_openai.chat_models.base"
    assert kind(raised(ValueError(*args), module, function)) is expected
    assert kind(raised(ValueError(*args), module)) is None


def test_a_failure_that_the_upstream_names_is_its_cause() -> None:
    failure = NamedFailure(REQUEST)
    assert kind(caused(failure, LIMITED)) is UpstreamRateLimited
    assert (failure.request, failure.body) == (REQUEST, None)


def test_an_upstreams_error_is_found_within_groups_and_causes() -> None:
    group = ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [connection(LIMITED)])])
    assert kind(group) is UpstreamRateLimited
    assert kind(caused(ValueError(), caused(KeyError(), status(403)))) is UpstreamAuth
    assert kind(caused(ExceptionGroup("g", [status(401)]), status(429))) is UpstreamRateLimited
    assert kind(ExceptionGroup("g", [status(401), status(429)])) is UpstreamAuth
    own = ValueError()
    assert kind(ExceptionGroup("g", [own, own, LIMITED])) is UpstreamRateLimited
    inner = ExceptionGroup("h", [own])
    assert kind(ExceptionGroup("g", [inner, LIMITED])) is UpstreamRateLimited


def test_causes_that_go_round_have_an_end() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert kind(one) is None
    first, second = connection(), connection()
    first.__cause__, second.__cause__ = second, first
    assert kind(first) is UpstreamUnavailable


def handling(how: str) -> Exception:
    """What comes of an upstream's error that a user's code handles."""

    def fail() -> None:
        raise LIMITED

    def mistake() -> None:
        raise ValueError

    try:
        try:
            fail()
        except UpstreamError as error:
            if how == "on purpose":
                raise ValueError  # noqa: B904 - which is the case
            if how == "from it":
                raise ValueError from error
            if how == "from None":
                raise ValueError from None
            if how == "by mistake":
                _ = dict[str, int]()["x"]
            mistake()
    except Exception as seen:  # noqa: BLE001 - which is what is looked at
        return seen
    raise AssertionError


@pytest.mark.parametrize("how", ["on purpose", "from it"])
def test_whoever_raises_another_where_one_is_handled_passes_it_on(how: str) -> None:
    assert kind(handling(how)) is UpstreamRateLimited


def test_it_is_passed_on_before_what_stands_beside_it() -> None:
    assert kind(ExceptionGroup("g", [handling("on purpose"), status(401)])) is UpstreamRateLimited


def test_it_is_passed_on_also_when_it_is_raised_once_more_elsewhere() -> None:
    error = handling("on purpose")
    with pytest.raises(UpstreamRateLimited):
        raise LIMITED
    assert kind(error) is UpstreamRateLimited


@pytest.mark.parametrize("how", ["from None", "by mistake", "in a function"])
def test_what_fails_by_itself_while_one_is_handled_is_a_failure_of_its_own(how: str) -> None:
    assert kind(handling(how)) is None


def test_an_error_that_was_never_raised_has_handled_nothing() -> None:
    error = ValueError()
    error.__context__ = LIMITED
    assert kind(error) is None


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (status(429), UpstreamRateLimited),
        (openai.APIError("secret", REQUEST, body={"code": 429}), UpstreamRateLimited),
        (openai.APIError("secret", REQUEST, body=None), UpstreamError),
        (late(), UpstreamTimeout),
        (late(BROKEN), UpstreamUnavailable),
        (TimeoutError(), UpstreamTimeout),
        (like("httpx", "PoolTimeout"), UpstreamTimeout),
        (connection(), UpstreamUnavailable),
        (openai.OpenAIError(), UpstreamError),
        (httpx2.DecodingError("x"), UpstreamBadResponse),
        (httpx2.ReadError("x"), UpstreamDisconnected),
        (BROKEN, UpstreamDisconnected),
        (OSError(), UpstreamDisconnected),
        (json.JSONDecodeError("x", "", 0), UpstreamBadResponse),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), UpstreamBadResponse),
        (like("theirs", "Unknown"), UpstreamDisconnected),
    ],
)
def test_each_failure_of_a_call_of_ours_has_its_kind(
    failure: Exception, expected: type[UpstreamError]
) -> None:
    assert type(of_failure(failure)) is expected
