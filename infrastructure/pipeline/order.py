"""Who is heard now: node runs side by side are heard one after the other."""

from collections.abc import Callable, Iterable

from sluice.domain.events import Beside, Token
from sluice.infrastructure.pipeline.namespaces import is_inside


class TokenOrder:
    """Node runs by their namespaces, in the order of their first token.

    A run inside another does not wait for it; the other then waits for what is inside.
    `told` is called for each token when its turn has come, with the run, who said it, and the text.
    """

    def __init__(self, told: Callable[[str, str, str], None] | None = None) -> None:
        self._told = told
        self._speaking: list[str] = []
        self._held: dict[str, list[Token | Beside]] = {}
        self._over: dict[str, None] = {}
        self.said: list[str] = []
        self.node = ""

    def recall(self, said: Iterable[tuple[str, str]]) -> None:
        """What the user has been told, as texts and who said them, takes the place of `said`."""
        self.said.clear()
        self.node = ""
        for text, node in said:
            self.said.append(text)
            self.node = node

    def say(self, namespace: str, token: Token) -> bool:
        """True when the token may be told now; otherwise it is held until its turn."""
        speaking = self._speaking
        if not (speaking and speaking[-1] == namespace):
            if speaking and not is_inside(namespace, speaking[-1]):
                self._held.setdefault(namespace, []).append(token)
                return False
            if namespace not in self._over:  # what outlives its run has no turn, for it has no end
                speaking.append(namespace)
        self.said.append(token.content)
        self.node = token.node
        if self._told is not None:
            self._told(namespace, token.node, token.content)
        return True

    def _tell(self, namespace: str, token: Token) -> None:
        self.said.append(token.content)
        self.node = token.node
        if self._told is not None:
            self._told(namespace, token.node, token.content)

    def holds(self, namespace: str, event: Beside) -> bool:
        """Whether tokens of that run are held, and the event now behind them."""
        if (held := self._held.get(namespace)) is None:
            return False
        held.append(event)
        return True

    def end(self, namespace: str) -> list[Token | Beside]:
        """The run is over, and all inside it: what the next in turn said meanwhile."""
        runs = [*self._speaking, *self._held]
        over = {run for run in runs if run == namespace or is_inside(run, namespace)}
        self._over |= dict.fromkeys(over | {namespace})
        first = next((n for n, run in enumerate(self._speaking) if run in over), None)
        if first is None:
            return []
        del self._speaking[first:]
        return self._release()

    def finish(self) -> list[Token | Beside]:
        """The graph is over: everything still held, in order."""
        self._speaking.clear()
        self._over |= dict.fromkeys(self._held)
        return self._release()

    def _release(self) -> list[Token | Beside]:
        told: list[Token | Beside] = []
        for namespace in list(self._held):
            speaker = self._speaking[-1] if self._speaking else ""
            if speaker and namespace != speaker and not is_inside(namespace, speaker):
                continue
            held = self._held.pop(namespace)
            for event in held:
                if isinstance(event, Token):
                    self._tell(namespace, event)
            told += held
            if namespace != speaker and namespace not in self._over:
                self._speaking.append(namespace)
        return told
