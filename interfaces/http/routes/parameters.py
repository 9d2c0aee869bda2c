"""What several routes find in a path or a header."""

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import AfterValidator
from starlette.requests import Request

from sluice.domain.errors import NotFound

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _possible(given: str) -> str:
    """What cannot be an id is answered like an id that never was."""
    if not _ID.fullmatch(given):
        raise NotFound(given)
    return given


JobIdPath = Annotated[str, Path(alias="job_id"), AfterValidator(_possible)]
ChatIdPath = Annotated[str, Path(alias="chat_id"), AfterValidator(_possible)]


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
