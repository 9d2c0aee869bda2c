"""The answer to what is no request, or too much of one: no application ever sees it."""

from collections.abc import Iterable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from sluice.domain.chat import new_id
from sluice.interfaces.http.middleware import SECURITY_HEADERS
from sluice.interfaces.http.problems import Problem
from sluice.interfaces.http.server.head_limit import MAX_FIELDS, MAX_HEAD_BYTES

_LIMITS = f"{MAX_HEAD_BYTES // 1024} KiB and {MAX_FIELDS} fields"
BAD_REQUEST = Problem(400, "bad_request", "This is not an HTTP/1.1 request.")
HEAD_TOO_LARGE = Problem(431, "head_too_large", f"The head of a request may have {_LIMITS}.")


def refusal(problem: Problem, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole response, after which the connection is of no use."""
    request_id = new_id()
    response = problem.response(request_id)
    fields = [
        *default_headers,
        *response.raw_headers,
        *SECURITY_HEADERS,
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"%b%b\r\n%b" % (STATUS_LINE[problem.status_code], head, bytes(response.body))
