"""What is known for a time only, and forgotten while the service runs."""

import asyncio
import logging

from sluice.application.graph_states import ForgetThreads
from sluice.application.pause_port import PausePort
from sluice.application.tracebacks import format_traceback

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 60


class Forgetting:
    """Once a minute: what jobs had asked that are over, and graphs' states that stayed behind."""

    def __init__(self, pauses: PausePort, forget_threads: ForgetThreads) -> None:
        self._pauses, self._forget_threads = pauses, forget_threads

    async def keep(self) -> None:
        """Until it is cancelled. What fails now is tried again."""
        while True:
            try:
                await self._pauses.forget()
                await self._forget_threads()
            except Exception as error:  # noqa: BLE001 - nobody would see that it has stopped
                logger.warning("what is over could not be forgotten: %s", format_traceback(error))
            await asyncio.sleep(_INTERVAL_SECONDS)
