"""Which stages are open: parallel instances of a node show as one."""

from collections.abc import Mapping
from typing import Any

from sluice.domain.events import Event, StageCompleted, StageFailed, StageStarted
from sluice.infrastructure.pipeline.namespaces import is_hidden, is_inside, path_of, ran_before
from sluice.infrastructure.pipeline.order import TokenOrder

How = type[StageCompleted | StageFailed]


class Stages:
    """Node runs by their namespaces. When one is over its turn is, and so is all inside it.

    `total` shown nodes make 100 % together; a node counts once, however often it runs, and where
    nodes may run again, 100 % is never reached. `failed`
    are those of which an error came, unless they were tried again since; `left`, those whose end
    LangGraph does not report, by how they ended: they handed over to a node of the graph above,
    or an error handler goes on for them.
    """

    def __init__(self, total: int, order: TokenOrder, *, has_loop: bool = False) -> None:
        self._total, self._order = max(total, 1), order
        self._most = 99 if has_loop else 100
        self._shown: dict[str, bool] = {}
        self._open: dict[str, int] = {}
        self._done: dict[str, None] = {}
        self._paused: dict[str, None] = {}
        """Those that were open when the run paused, and begin anew."""
        self.failed: set[str] = set()
        self.left: dict[str, How] = {}

    def noted(self) -> dict[str, Any]:
        """What is open and done, as JSON, for `recall`."""
        return {"open": dict(self._shown), "done": sorted(self._done)}

    def recall(self, note: Mapping[str, Any]) -> None:
        """The run goes on after a pause: the user knows of these."""
        for namespace, shown in note["open"].items():
            self._shown[namespace] = shown
            self._paused[namespace] = None
            if shown:
                self._opened(path_of(namespace))
        self._done = dict.fromkeys(note["done"])

    def started(self, namespace: str, *, shown: bool) -> list[Event]:
        """Whoever runs a graph anew has given up what failed in its last run."""
        if namespace in self._paused:
            del self._paused[namespace]
            return []
        failed = [run for run in self._shown if run in self.failed]
        given_up = [run for run in failed if ran_before(run, namespace)]
        events = [event for run in given_up for event in self._over(run, StageFailed)]
        events += self.ends_unreported()
        shown = self._shown[namespace] = shown and not is_hidden(namespace)
        if shown:
            path = path_of(namespace)
            if self._opened(path):
                events.append(StageStarted(path, self._progress))
        return events

    def _opened(self, path: str) -> bool:
        """Whether it was not open yet."""
        runs = self._open[path] = self._open.get(path, 0) + 1
        return runs == 1

    def ended(self, namespace: str) -> list[Event]:
        """What is open inside has failed, and nobody minds."""
        return self._over(namespace, StageCompleted, inside=StageFailed)

    def ends_unreported(self) -> list[Event]:
        left = {run: how for run, how in self.left.items() if run in self._shown}
        return [event for run, how in left.items() for event in self._over(run, how)]

    @property
    def _progress(self) -> int:
        return min(self._most, 100 * len(self._done) // self._total)

    def _over(self, namespace: str, how: How, *, inside: How | None = None) -> list[Event]:
        inner = [run for run in self._shown if is_inside(run, namespace)]
        events = [event for run in reversed(inner) for event in self._closed(run, inside or how)]
        return [*events, *self._closed(namespace, how)]

    def _closed(self, namespace: str, how: How) -> list[Event]:
        events: list[Event] = [*self._order.end(namespace)]
        if self._shown.pop(namespace, False):
            path = path_of(namespace)
            self._open[path] -= 1
            if not self._open[path]:
                if how is StageCompleted:
                    self._done[path] = None
                events.append(how(path, self._progress))
        return events
