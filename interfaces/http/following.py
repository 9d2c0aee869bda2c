"""A job's stream as the answer to whatever another protocol's route was asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from sluice.application.encoding import EncoderFor, Push
from sluice.application.jobs import JobView
from sluice.domain.chat import JobId
from sluice.domain.events import Cursor
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import OptionsDep, ServicesDep, UserDep
from sluice.interfaces.http.sse import EventStream

Closing = Callable[[JobView], bytes]


class Following:
    """Streams that are cut by a reset where they cannot be finished."""

    def __init__(
        self, request: Request, services: ServicesDep, options: OptionsDep, user: UserDep
    ) -> None:
        self._services, self._options, self._user = services, options, user
        self._push: Push = request.scope["extensions"][PUSH]
        self._reserved = False

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Keeps room for the stream while its job is taken. Raises LimitReached."""
        with self._services.follow.reserve(self._user.id):
            self._reserved = True
            yield
            self._reserved = False

    async def __call__(
        self,
        job_id: JobId,
        encoder_for: EncoderFor,
        after: Cursor | None = None,
        skip: int = 0,
        *,
        closing: Closing | None = None,
    ) -> EventStream:
        """`closing`: what ends the stream where the job waits for a human; None to wait with it.

        Raises NotFound, Finished for the terminal event's cursor, LimitReached, Unavailable.
        """
        options = self._options
        batches = await self._services.follow(
            self._user.id,
            job_id,
            after=after,
            encoder_for=encoder_for,
            skip=skip,
            push=self._push,
            reserved=self._reserved,
        )
        options.streams.resumes += after is not None
        stream = EventStream(
            batches, options.streams, ping=options.ping, expires=self._user.expires
        )
        stream.headers["X-Sluice-Job"] = job_id
        if closing is not None:
            stream.at_pause = partial(self._closing, job_id, closing)
        return stream

    async def _closing(self, job_id: JobId, closing: Closing, last: Cursor) -> bytes | None:
        view = await self._services.show_job(self._user.id, job_id)
        waits = view.status == "waiting" and view.events[-1].id == last
        return closing(view) if waits else None


FollowingDep = Annotated[Following, Depends(Following)]
