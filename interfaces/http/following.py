"""A job's stream as the answer to whatever another protocol's route was asked."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from sluice.application.encoding import EncoderFor, Push
from sluice.domain.chat import JobId
from sluice.domain.events import Cursor
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import OptionsDep, ServicesDep, UserDep
from sluice.interfaces.http.sse import EventStream


class Following:
    """Streams that are cut by a reset where they cannot be finished."""

    def __init__(
        self, request: Request, services: ServicesDep, options: OptionsDep, user: UserDep
    ) -> None:
        self._services, self._options, self._user = services, options, user
        self._push: Push = request.scope["extensions"][PUSH]

    async def __call__(
        self, job_id: JobId, encoder_for: EncoderFor, after: Cursor | None = None, skip: int = 0
    ) -> EventStream:
        """Raises NotFound, Finished for the terminal event's cursor, LimitReached, Unavailable."""
        options = self._options
        batches = await self._services.follow(
            self._user.id, job_id, after=after, encoder_for=encoder_for, skip=skip, push=self._push
        )
        options.streams.resumes += after is not None
        stream = EventStream(
            batches, options.streams, ping=options.ping, expires=self._user.expires
        )
        stream.headers["X-Sluice-Job"] = job_id
        return stream


FollowingDep = Annotated[Following, Depends(Following)]
