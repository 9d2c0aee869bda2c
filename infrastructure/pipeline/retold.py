"""What a run has told before it paused: a node that asked begins anew, and says it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluice.application.codec import encode
from sluice.domain.events import Beside, Reasoning, Tool


@dataclass(frozen=True, slots=True)
class Piece:
    """What a node run said without another in between."""

    namespace: str
    path: str
    said: list[str]

    @property
    def text(self) -> str:
        return "".join(self.said)


class Retold:
    """Swallows what is said again, as long as it is the same.

    `note` is what `noted` gave at the pause; an empty one at the beginning of a job.
    """

    def __init__(self, note: Mapping[str, Any]) -> None:
        self.pieces = [Piece(ns, path, [text]) for ns, path, text in note.get("pieces", ())]
        self._texts: dict[str, str] = {}
        for piece in self.pieces:
            self._texts[piece.namespace] = self._texts.get(piece.namespace, "") + piece.text
        self._repeated: dict[str, str] = {}
        """What has been said again, by namespace, of texts of which more is to come."""
        self._tools = {(call_id, status) for call_id, status in note.get("tools", ())}
        self._thoughts: dict[str, str] = dict(note.get("thoughts", {}))
        self._data: dict[str, list[str]] = {
            ns: [*data] for ns, data in note.get("data", {}).items()
        }
        self._told_thoughts = dict(self._thoughts)
        self._told_data = {namespace: [*data] for namespace, data in self._data.items()}

    def noted(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "pieces": [[piece.namespace, piece.path, piece.text] for piece in self.pieces],
            "tools": [list(step) for step in sorted(self._tools)],
            "thoughts": self._told_thoughts,
            "data": self._told_data,
        }

    def told(self, namespace: str, path: str, text: str) -> None:
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last.namespace == namespace and last.path == path:
            last.said.append(text)
        else:
            self.pieces.append(Piece(namespace, path, [text]))

    def to_tell(self, namespace: str, text: str) -> str | None:
        """What of it was not told before the pause; None: it is something else than then.

        Whoever is told None tells everything anew, and asks `retract`.
        """
        if (before := self._texts.get(namespace)) is None:
            return text
        said = self._repeated.get(namespace, "") + text
        if before.startswith(said):
            self._repeated[namespace] = said
            return ""
        if not said.startswith(before):
            return None
        del self._texts[namespace]
        return said[len(before) :]

    def retract(self, namespace: str) -> str:
        """What the node run had said before is void; gives what it has said again by now."""
        said = self._repeated.get(namespace, "")
        del self._texts[namespace]
        self.pieces = [piece for piece in self.pieces if piece.namespace != namespace]
        return said

    def new_of(self, namespace: str, event: Beside) -> Beside | None:
        """The event, or what of it is new; None if it was told."""
        if isinstance(event, Tool):
            step = event.call_id, event.status
            if step in self._tools:
                return None
            self._tools.add(step)
            return event
        if isinstance(event, Reasoning):
            return self._new_thought(namespace, event)
        said = encode(event)[1]
        if said in (earlier := self._data.get(namespace, [])):
            earlier.remove(said)
            return None
        self._told_data.setdefault(namespace, []).append(said)
        return event

    def _new_thought(self, namespace: str, event: Reasoning) -> Reasoning | None:
        before, text = self._thoughts.get(namespace, ""), event.content
        if before.startswith(text):
            self._thoughts[namespace] = before[len(text) :]
            return None
        self._thoughts.pop(namespace, None)
        told = self._told_thoughts.get(namespace, "")
        if text.startswith(before):
            text = text[len(before) :]
        else:  # it thinks something else from here on, and will do so again
            told = told.removesuffix(before)
        self._told_thoughts[namespace] = told + text
        return Reasoning(text, event.node)
