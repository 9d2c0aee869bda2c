"""What comes next: what a test has ordered, else the rules, under the standing fault if any."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from .breaking import happens_within_a_stream
from .faults import Fault
from .replies import Reply

Predicate = Callable[[Mapping[str, Any]], bool]


class Script:
    """Standing replies go before the queue. A fault that happens once is forgotten then."""

    def __init__(self, fault: Fault | None = None) -> None:
        self._fault = fault
        self._queue: deque[Reply] = deque()
        self._standing: list[tuple[Predicate, Reply]] = []

    def add(self, *replies: Reply) -> None:
        self._queue.extend(replies)

    def add_standing(self, matches: Predicate, reply: Reply) -> None:
        self._standing.insert(0, (matches, reply))

    def next(self, body: Mapping[str, Any]) -> Reply:
        for entry in self._standing:
            matches, reply = entry
            if matches(body):
                if reply.fault is Fault.SERVER_ERROR_ONCE:
                    self._standing.remove(entry)
                return reply
        return self._queue.popleft() if self._queue else self._unscripted(body)

    def _unscripted(self, body: Mapping[str, Any]) -> Reply:
        fault = self._fault
        plain = body.get("stream") and "response_format" not in body
        if fault is None or (happens_within_a_stream(fault) and not plain):
            return Reply()
        if fault is Fault.SERVER_ERROR_ONCE:
            self._fault = None
        return Reply(fault=fault)
