"""What is away for a while: told when that begins and when it is over, and not in between."""

from logging import Logger


class Outage:
    """`began` and `over` are what the log says."""

    def __init__(self, logger: Logger, began: str, over: str) -> None:
        self._logger, self._began, self._over = logger, began, over
        self.lasts = False

    def note(self, why: str | None) -> None:
        """How the last try went: why it failed, or None."""
        if why is not None and not self.lasts:
            self._logger.error("%s: %s", self._began, why)
        elif why is None and self.lasts:
            self._logger.warning("%s", self._over)
        self.lasts = why is not None
