"""Every way a call to the upstream can fail, and what it is called in the domain.

The domain errors carry no text of the upstream: what it said stays in `__cause__`.
"""

import json
import ssl

import anyio
import httpx2
import openai

from domain import errors

BROKEN_BODY: tuple[type[Exception], ...] = (
    httpx2.RequestError,
    ssl.SSLError,
    anyio.EndOfStream,
)
"""What reading a body raises. The last two come through httpx2 unmapped, as the SDK knows too."""

UPSTREAM_FAILURES: tuple[type[Exception], ...] = (
    openai.OpenAIError,
    *BROKEN_BODY,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What a client of the SDK may raise, another one than ours included."""

_RATE_LIMITED = 429
_AUTH = (401, 403)

_BY_CLASS: tuple[tuple[type[Exception], type[errors.UpstreamError]], ...] = (
    (openai.APITimeoutError, errors.UpstreamTimeout),
    (openai.APIConnectionError, errors.UpstreamUnavailable),
    (openai.LengthFinishReasonError, errors.UpstreamTruncated),
    (openai.ContentFilterFinishReasonError, errors.UpstreamBadResponse),
    (openai.APIResponseValidationError, errors.UpstreamBadResponse),
    (httpx2.DecodingError, errors.UpstreamBadResponse),
    (json.JSONDecodeError, errors.UpstreamBadResponse),
    (UnicodeDecodeError, errors.UpstreamBadResponse),
    (openai.OpenAIError, errors.UpstreamError),
)


def of_failure(failure: Exception) -> errors.UpstreamError:
    """For `raise of_failure(failure) from failure`."""
    if isinstance(failure, openai.APIStatusError):
        return _of_status(failure.status_code)
    found = (mine for theirs, mine in _BY_CLASS if isinstance(failure, theirs))
    return next(found, errors.UpstreamDisconnected)()


def _of_status(status: int) -> errors.UpstreamError:
    if status in _AUTH:
        return errors.UpstreamAuth(f"status {status}")
    if status == _RATE_LIMITED:
        return errors.UpstreamRateLimited(f"status {status}")
    if status >= 500:
        return errors.UpstreamUnavailable(f"status {status}")
    if status < 400:
        return errors.UpstreamBadResponse(f"status {status}")
    return errors.UpstreamError(f"status {status}")
