"""A GraphRun before a test: no graph, and what it tells is kept."""

from collections.abc import Mapping
from threading import get_ident
from typing import Any

from sluice.application.model_calls import ModelCalls
from sluice.domain.events import Done, Event, Token, Usage
from sluice.infrastructure.pipeline.listeners import Reader
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.visibility import Named, Visibility

A, B, INSIDE = "a:1", "b:2", "a:1|i:3"


class Run(GraphRun):
    """Nodes `a`, with `a/i` in it, and `b`, silent unless declared; `told` is what was told."""

    def __init__(
        self,
        reader: Reader = "tap",
        *,
        declared: Mapping[str, Mapping[str, Any]] | None = None,
        named: Named | None = None,
        given: frozenset[str] = frozenset(),
        **options: Any,
    ) -> None:
        visibility = Visibility(named or {})
        for path in ("a", "a/i", "b"):
            visibility.declare(path, (declared or {}).get(path, {}))
        self.told: list[Event] = []
        self.threads = set[int]()
        calls = ModelCalls(usage=Usage(1, 2, 3), finish_reason="stop")
        super().__init__(visibility, calls, given, self.tell, reader, **options)

    def tell(self, event: Event) -> None:
        self.told.append(event)
        self.threads.add(get_ident())

    def done(self, state: Mapping[str, Any]) -> Done:
        return self.end("A2", state, offline=False)

    @property
    def tokens(self) -> list[str]:
        return [event.content for event in self.told if isinstance(event, Token)]
