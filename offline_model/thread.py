"""The offline model in a thread and loop of its own, for a process whose loop must stay free."""

import asyncio
import threading

from .faults import Fault
from .server import OfflineModel


class OfflineModelThread:
    """`model` belongs to the thread's loop: from outside only its counters may be read."""

    def __init__(self, *, pace: float = 0.03, fault: Fault | None = None) -> None:
        self.model = OfflineModel(pace=pace, fault=fault)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="offline-model", daemon=True
        )

    def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Returns the base URL. Raises OSError when the port is taken."""
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(
                self.model.start(host, port), self._loop
            ).result()
        except OSError:
            self._end()
            raise

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.model.aclose(), self._loop).result()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
