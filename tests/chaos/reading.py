"""One reader's subscriptions, folded as a client does it."""

from collections.abc import Iterator, Sequence
from typing import Any

from tests.chaos.record import Line
from tests.chaos.story import TERMINAL, Disturbance, place

JOINED = ("token", "reasoning")
"""For a reader that is behind; only at these the numbers jump."""


class Reading:
    def __init__(self, disturbances: Sequence[Disturbance]) -> None:
        self._disturbances = disturbances
        self.pieces: list[str] = []
        self.unknown = 0
        self._last = (0, 0)
        self._ended = False

    def take(self, visit: Line) -> Iterator[str]:
        """What is wrong with it."""
        if visit["status"] not in (200, 204):
            yield f"status {visit['status']}"
        for name, event_id, data in visit["frames"]:
            yield from self._event(name, event_id, data)
        if not visit["left"]:
            yield from self._body(visit)

    def _body(self, visit: Line) -> Iterator[str]:
        """It has ended: properly, and with a word about coming back if there is more to come."""
        if not visit["properly"]:
            if not any(disturbance.cuts(visit) for disturbance in self._disturbances):
                yield "a body was cut, and nobody had killed who sent it"
            return
        more = visit["status"] == 200 and not self._ended
        if more and len(visit["retries"]) < 1 + bool(visit["frames"]):
            yield "a body ended early, and said nothing about coming back"

    def _event(self, name: str, event_id: str, data: Any) -> Iterator[str]:
        if self._ended:
            yield f"{name} after the terminal event"
        if data.get("reason") == "cursor_unknown":
            self.unknown += 1
            self.pieces.clear()
            self._last = (0, 0)
            return
        new = place(event_id)
        same, first = new[0] == self._last[0], new[1] == 1
        if new <= self._last:
            yield f"{event_id} after {self._last}"
        elif name not in JOINED and (new[1] != self._last[1] + 1 if same else not first):
            yield f"{event_id} follows {self._last}"
        if not same and self._last != (0, 0) and name != "reset":
            yield f"attempt {new[0]} begins with {name}"
        self._last = new
        match name:
            case "token":
                self.pieces.append(data["content"])
            case "reset":
                self.pieces.clear()
        self._ended = name in TERMINAL
