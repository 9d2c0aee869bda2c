"""Every way a call to the upstream can fail, and what it is called in the domain: for our own
client, and for users' clients alike.

The domain errors carry no text of the upstream: what it said stays in `__cause__`.
"""

import json

import aiohttp
import httpx2
import openai

from sluice.domain import errors

from .failures import of_error, of_status

BROKEN_BODY: tuple[type[Exception], ...] = (
    httpx2.RequestError,
    aiohttp.ClientError,
    OSError,
)
"""What reading a body raises. The last two are what the transport did not translate."""

UPSTREAM_FAILURES: tuple[type[Exception], ...] = (
    openai.OpenAIError,
    *BROKEN_BODY,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What any client built on the SDK may raise, other people's chat models included."""

_BY_CLASS: tuple[tuple[type[Exception], type[errors.UpstreamError]], ...] = (
    (openai.APIConnectionError, errors.UpstreamUnavailable),
    (openai.LengthFinishReasonError, errors.UpstreamTruncated),
    (openai.ContentFilterFinishReasonError, errors.UpstreamBadResponse),
    (openai.APIResponseValidationError, errors.UpstreamBadResponse),
    (openai.OpenAIError, errors.UpstreamError),
    (httpx2.DecodingError, errors.UpstreamBadResponse),
    (aiohttp.ClientResponseError, errors.UpstreamBadResponse),  # an answer that is no HTTP
    (json.JSONDecodeError, errors.UpstreamBadResponse),
    (UnicodeDecodeError, errors.UpstreamBadResponse),
)


def of_failure(failure: BaseException) -> errors.UpstreamError:
    """For `raise of_failure(failure) from failure`. What is not in the table has broken off."""
    if isinstance(failure, openai.APIStatusError):
        return of_status(failure.status_code)
    if type(failure) is openai.APIError and failure.body:
        return of_error(failure.body)  # an error object in the stream
    if timed_out(failure):
        return errors.UpstreamTimeout()
    found = (mine for theirs, mine in _BY_CLASS if isinstance(failure, theirs))
    return next(found, errors.UpstreamDisconnected)()


def timed_out(failure: BaseException) -> bool:
    """By its name too: other people's clients may be built on a library that is not known here.

    The SDK's aiohttp transport calls a broken connection a timeout as well; its cause tells.
    """
    if not isinstance(failure, openai.APITimeoutError):
        return isinstance(failure, TimeoutError) or "Timeout" in type(failure).__name__
    cause: BaseException | None = failure
    while cause is not None and not isinstance(cause, aiohttp.ClientError):
        cause = cause.__cause__
    return cause is None or isinstance(cause, TimeoutError)
