"""Which stages are open: parallel instances of a node show as one."""

from collections import Counter

from domain.events import StageCompleted, StageStarted


class Stages:
    """`total` shown nodes make 100 % together; a node counts once, however often it runs."""

    def __init__(self, total: int) -> None:
        self._total = max(total, 1)
        self._open: Counter[str] = Counter()
        self._done: set[str] = set()

    @property
    def progress(self) -> int:
        return min(100, 100 * len(self._done) // self._total)

    def started(self, path: str) -> StageStarted | None:
        self._open[path] += 1
        return StageStarted(path, self.progress) if self._open[path] == 1 else None

    def ended(self, path: str) -> StageCompleted | None:
        """A stage that is not open, because it is not shown, does not end either."""
        if not self._open[path]:
            return None
        self._open[path] -= 1
        if self._open[path]:
            return None
        self._done.add(path)
        return StageCompleted(path, self.progress)
