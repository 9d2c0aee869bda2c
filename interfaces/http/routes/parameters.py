"""What several routes find in a path or a header."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator
from starlette.requests import Request

from sluice.domain.chat import ExecutionPath
from sluice.domain.errors import NotFound
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.services import OptionsDep

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def possible_id(given: str) -> str:
    """What cannot be an id is answered like an id that never was."""
    if not _ID.fullmatch(given):
        raise NotFound(given)
    return given


JobIdPath = Annotated[str, Path(alias="job_id"), AfterValidator(possible_id)]
ChatIdPath = Annotated[str, Path(alias="chat_id"), AfterValidator(possible_id)]


async def _query_cursor(
    request: Request,
    _last_event_id: Annotated[str | None, Query(alias="last_event_id")] = None,
    _other_name: Annotated[str | None, Query(alias="lastEventId")] = None,
) -> str | None:
    """Under either name, as clients differ; of several the last."""
    named = ("last_event_id", "lastEventId")
    given = [value for name, value in request.query_params.multi_items() if name in named]
    return given[-1] if given else None


QueryCursor = Annotated[str | None, Depends(_query_cursor)]


async def _header_cursor(
    request: Request,
    _last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="Where a reader goes on: behind the event of that id. Beside a question: "
            "a reader that asks once more, with its `Idempotency-Key`.",
        ),
    ] = None,
) -> str | None:
    """Of several the last, as in the query."""
    given = request.headers.getlist("Last-Event-ID")
    return given[-1] if given else None


HeaderCursor = Annotated[str | None, Depends(_header_cursor)]


async def _asked_path(
    options: OptionsDep,
    given: Annotated[str | None, Header(alias="X-Sluice-Path", include_in_schema=False)] = None,
) -> ExecutionPath | None:
    """None, whatever is given, unless requests may choose."""
    if given is None or not options.path_header:
        return None
    if given not in ("A1", "A2"):
        raise wrong("X-Sluice-Path", "is A1 or A2")
    return "A1" if given == "A1" else "A2"


AskedPath = Annotated[ExecutionPath | None, Depends(_asked_path)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="The same key, path and body again within 24 h give the same answer.",
    ),
]
