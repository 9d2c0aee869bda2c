"""What is known for a time only, and forgotten while the service runs."""

import asyncio

from sluice.application.background import survives
from sluice.application.graph_states import ForgetThreads
from sluice.application.pause_port import PausePort

_INTERVAL_SECONDS = 60


class Forgetting:
    """Once a minute: what jobs had asked that are over, and graphs' states that stayed behind."""

    def __init__(self, pauses: PausePort, forget_threads: ForgetThreads) -> None:
        self._pauses, self._forget_threads = pauses, forget_threads

    async def keep(self) -> None:
        """Until it is cancelled. What fails now is tried again."""
        while True:
            await survives(self._pauses.forget(), "forgetting what was asked")
            await survives(self._forget_threads(), "forgetting graphs' states")
            await asyncio.sleep(_INTERVAL_SECONDS)
