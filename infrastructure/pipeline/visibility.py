"""What the user hears and sees of a graph. The rule stands here and nowhere else.

- Nothing is heard that is not declared: by `add_node(…, metadata={"speaks": True})`, or by the
  node's path in a setting, which is written into the same metadata.
- Whose work a call is comes from where it runs: the innermost watched node run, found through
  the context. What a node runs by itself (a graph, with a `thread_id` or without, a task, a
  tool) is that node's work: heard if the node speaks, silent if not, whatever is declared inside.
- A subgraph that is a node has no calls of its own: its nodes are watched, and each speaks for
  itself. Conditional edges are in no node.
- A setting may name what a silent node runs by itself (`node/inner`): that is heard.
- A call tagged `nostream` or begun in `silent()` is silent, and so is structured output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.application.heard_calls import muted

_NOSTREAM = "nostream"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a node's metadata says of it."""

    speaks: bool
    stage: bool


class Visibility:
    """`speaking` names nodes (`outer/inner`) that speak though the graph does not say so."""

    def __init__(self, speaking: frozenset[str] = frozenset()) -> None:
        self._speaking = speaking
        self._nodes: dict[str, Declared] = {}

    def declare(self, path: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        """Learns of a node; gives its metadata with what the settings say of it."""
        declared = {**(metadata or {})}
        if path in self._speaking:
            declared["speaks"] = True
        self._nodes[path] = Declared(
            bool(declared.get("speaks")), declared.get("stage") is not False
        )
        return declared

    def unknown(self) -> list[str]:
        """Named nodes that the graph does not have."""
        return sorted(path for path in self._speaking if not self._may_be(path))

    @property
    def anyone_speaks(self) -> bool:
        return bool(self._speaking) or any(declared.speaks for declared in self._nodes.values())

    @property
    def stages(self) -> int:
        return sum(declared.stage for declared in self._nodes.values())

    def answers(self, path: str, *, is_graph: bool) -> bool:
        """Whether the AI messages that this watched node adds are the answer's.

        Of a graph whose own nodes speak, only theirs are.
        """
        if not self.is_declared(path):
            return False
        return not (is_graph and any(self._nodes[inner].speaks for inner in self._inside(path)))

    def is_declared(self, path: str) -> bool:
        """Whether a watched node says of itself that it speaks."""
        known = self._nodes.get(path)
        return known is not None and known.speaks

    def speaks(self, node: str, *, by_itself: bool, path: str) -> bool:
        """Whether what runs at `path`, which is the work of the watched `node`, is heard.

        `by_itself`: the node speaks, and is no graph.
        """
        return by_itself or (bool(node) and any(p in self._speaking for p in _from(node, path)))

    def is_named(self, path: str) -> bool:
        return path in self._speaking

    def is_stage(self, path: str, metadata: Mapping[str, Any]) -> bool:
        """`metadata` is the run's own, with what it inherited."""
        known = self._nodes.get(path)
        return known.stage if known else metadata.get("stage") is not False

    def _inside(self, path: str) -> Iterator[str]:
        return (known for known in self._nodes if known.startswith(f"{path}/"))

    def _may_be(self, path: str) -> bool:
        """There is such a node, or it is in a graph that a node of ours may run by itself."""
        outer = path.rpartition("/")[0]
        if path in self._nodes or not outer:
            return path in self._nodes
        return not any(self._inside(outer)) and self._may_be(outer)


def is_silent_call(tags: Sequence[str] | None, call: Mapping[str, Any]) -> bool:
    """Whether the call itself is not for the user, wherever it is made.

    `call` is what LangChain tells of it: a model's structured output is no text to be read.
    """
    options = call.get("options") or {}
    wanted = (call.get("invocation_params") or {}).get("response_format")
    structured = options.get("ls_structured_output_format") or wanted
    return muted.get() or _NOSTREAM in (tags or ()) or bool(structured)


def _from(node: str, path: str) -> Iterator[str]:
    """`a/b/c` from `a`: `a/b`, `a/b/c`."""
    for end, letter in enumerate(path):
        if letter == "/" and end > len(node):
            yield path[:end]
    if len(path) > len(node):
        yield path
