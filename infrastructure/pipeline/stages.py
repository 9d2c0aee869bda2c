"""Which stages are open: parallel instances of a node show as one."""

from collections import Counter

from sluice.domain.events import Event, StageCompleted, StageFailed, StageStarted
from sluice.infrastructure.pipeline.nodes import GraphRun, is_hidden, is_inside, path_of
from sluice.infrastructure.pipeline.turns import Turns

How = type[StageCompleted | StageFailed]


class Stages:
    """Node runs by their namespaces. When one is over its turn is, and so is all inside it.

    `total` shown nodes make 100 % together; a node counts once, however often it runs.
    """

    def __init__(self, total: int, run: GraphRun, turns: Turns) -> None:
        self._total, self._run, self._turns = max(total, 1), run, turns
        self._shown: dict[str, bool] = {}
        self._open: Counter[str] = Counter()
        self._done: set[str] = set()

    def started(self, namespace: str, *, shown: bool) -> list[Event]:
        """Whoever runs a graph anew has given up what failed in its last run."""
        given_up = [failed for failed in self._failed() if _ran_before(failed, namespace)]
        events = [event for failed in given_up for event in self._over(failed, StageFailed)]
        events += self.left()
        shown = self._shown[namespace] = shown and not is_hidden(namespace)
        if shown:
            path = path_of(namespace)
            self._open[path] += 1
            if self._open[path] == 1:
                events.append(StageStarted(path, self._progress))
        return events

    def ended(self, namespace: str) -> list[Event]:
        """What is open inside has failed, and nobody minds."""
        return self._over(namespace, StageCompleted, inside=StageFailed)

    def left(self) -> list[Event]:
        """The ends that LangGraph does not report."""
        left = {run: how for run, how in self._run.left.items() if run in self._shown}
        return [event for run, how in left.items() for event in self._over(run, how)]

    @property
    def _progress(self) -> int:
        return min(100, 100 * len(self._done) // self._total)

    def _failed(self) -> list[str]:
        return [run for run in self._shown if run in self._run.failed]

    def _over(self, namespace: str, how: How, *, inside: How | None = None) -> list[Event]:
        inner = [run for run in self._shown if is_inside(run, namespace)]
        events = [event for run in reversed(inner) for event in self._closed(run, inside or how)]
        return [*events, *self._closed(namespace, how)]

    def _closed(self, namespace: str, how: How) -> list[Event]:
        events: list[Event] = [*self._turns.end(namespace)]
        if self._shown.pop(namespace, False):
            path = path_of(namespace)
            self._open[path] -= 1
            if not self._open[path]:
                if how is StageCompleted:
                    self._done.add(path)
                events.append(how(path, self._progress))
        return events


def _ran_before(one: str, other: str) -> bool:
    """The same task ran the graph of `one` first, and that of `other` later."""
    before, now = one.rpartition("|")[0], other.rpartition("|")[0]
    return before != now and _tasks(before) == _tasks(now)


def _tasks(namespace: str) -> list[str]:
    return [part for part in namespace.split("|") if ":" in part]
