"""A run that may stop for a human, and goes on with all that it was when it did."""

from collections.abc import Mapping
from threading import get_ident
from typing import Any

from sluice.domain.events import Beside, Json, Reset, Token, Usage
from sluice.infrastructure.pipeline.retold import Retold
from sluice.infrastructure.pipeline.run import GraphRun


class PausableRun(GraphRun):
    """A node that asked begins anew when it is answered: what it then says again is swallowed.

    `note` is what `pause` gave; an empty one at the beginning.
    """

    def __init__(self, note: Mapping[str, Any], *given: Any, **options: Any) -> None:
        """The rest is for a GraphRun."""
        super().__init__(*given, **options)
        self._retold = Retold(note)
        self.answer.recall(note)
        self._stages.recall(note)
        self._recall_said()
        self._cut += note.get("cut", ())
        usage = note.get("usage")
        self.calls.usage = Usage(*usage) if usage else None
        self.calls.finish_reason = note.get("finish_reason")

    def pause(self) -> dict[str, Json]:
        """Tells what waits for its turn, and gives what the run must know when it goes on."""
        self._tell_waiting()
        usage = self.calls.usage
        return {
            **self.answer.noted(),
            **self._stages.noted(),
            **self._retold.noted(),
            "cut": [*self._cut],
            "usage": usage and [usage.input_tokens, usage.output_tokens, usage.total_tokens],
            "finish_reason": self.calls.finish_reason,
        }

    def token(self, namespace: str, path: str, text: str) -> None:
        if get_ident() == self._thread:
            if not (text := self._new(namespace, text)):
                return
            self._retold.told(namespace, path, text)
        super().token(namespace, path, text)

    def show(self, namespace: str, event: Beside, queue: str) -> None:
        if get_ident() == self._thread:
            new = self._retold.new_of(namespace, event)
            if new is None:
                return
            event = new
        super().show(namespace, event, queue)

    def _new(self, namespace: str, text: str) -> str:
        """A node that says something else than before its pause revises what it said."""
        new = self._retold.to_tell(namespace, text)
        if new is not None:
            return new
        again = self._retold.retract(namespace)
        self._tell(Reset("revised"))
        self._recall_said()
        self._tell_all(Token(piece.text, piece.path) for piece in self._retold.pieces)
        return again + text

    def _recall_said(self) -> None:
        self._order.recall((piece.text, piece.path) for piece in self._retold.pieces)
