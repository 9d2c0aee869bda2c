"""What our savers add to LangGraph's: a run learns what it leaves, and a store may be away."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from sluice.application.tracebacks import format_traceback
from sluice.infrastructure.pipeline.place import current_place

logger = logging.getLogger(__name__)
T = TypeVar("T")

_RETRY_SECONDS = 0.5
_PATIENCE_SECONDS = 60
"""For a store that is away: then the run fails."""


class Saver(BaseCheckpointSaver[str]):
    """To be mixed into a saver of LangGraph's. `outages` are the errors that pass."""

    outages: ClassVar[tuple[type[Exception], ...]] = ()

    async def ready(self) -> None:
        """Makes the tables, unless they are there."""
        raise NotImplementedError

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        get = super().aget_tuple
        return await self._patiently(lambda: get(config))

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        find = super().alist

        async def work() -> list[CheckpointTuple]:
            return [each async for each in find(config, **options)]

        for each in await self._patiently(work):
            yield each

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        put = super().aput
        stored = await self._patiently(lambda: put(config, checkpoint, metadata, new_versions))
        if (place := current_place.get()) is not None:
            place.passed(stored["configurable"], checkpoint)
        return stored

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        put = super().aput_writes
        await self._patiently(lambda: put(config, writes, task_id, task_path))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """All that a saver does may be done again. Raises what was raised last."""
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                await self.ready()
                return await work()
            except self.outages as error:
                if time.monotonic() > give_up:
                    raise
                logger.error("a run waits for its checkpoints: %s", format_traceback(error))
                await asyncio.sleep(_RETRY_SECONDS)
