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
- All this holds for each of `tools`, `reasoning` and `data` by itself, as it does for `speaks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sluice.application.heard_calls import muted

Word = Literal["speaks", "tools", "reasoning", "data"]
"""What a node may let the user hear of; nothing without the word."""
WORDS: tuple[Word, ...] = get_args(Word)
_NOSTREAM = "nostream"


@dataclass(frozen=True, slots=True)
class Declared:
    """What a node's metadata says of it."""

    speaks: bool = False
    tools: bool = False
    reasoning: bool = False
    data: bool = False
    stage: bool = True

    def says(self, word: Word) -> bool:
        return bool(getattr(self, word))


SILENT = Declared()


class UnknownNodeError(ValueError):
    """A setting names nodes that the graph does not have, for `word`."""

    def __init__(self, word: Word, nodes: Sequence[str]) -> None:
        super().__init__(f"the graph has no node {', '.join(nodes)}")
        self.word = word


Named = Mapping[Word, frozenset[str]]
"""Nodes (`outer/inner`) for which a setting says the word, though the graph does not."""


class Visibility:
    def __init__(self, named: Named) -> None:
        self._named = {word: named.get(word, frozenset()) for word in WORDS}
        self._nodes: dict[str, Declared] = {}

    def declare(self, path: str, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
        """Learns of a node; gives its metadata with what the settings say of it."""
        declared = {**(metadata or {})}
        declared |= {word: True for word in WORDS if path in self._named[word]}
        said = {word: bool(declared.get(word)) for word in WORDS}
        self._nodes[path] = Declared(**said, stage=declared.get("stage") is not False)
        return declared

    def check(self) -> None:
        """Raises UnknownNodeError if a setting names a node that the graph does not have."""
        for word, paths in self._named.items():
            if unknown := sorted(path for path in paths if not self._may_be(path)):
                raise UnknownNodeError(word, unknown)

    def uses(self, *words: Word) -> bool:
        """Whether any node says one of them."""
        return any(
            self._named[word] or any(declared.says(word) for declared in self._nodes.values())
            for word in words
        )

    @property
    def stages(self) -> int:
        return sum(declared.stage for declared in self._nodes.values())

    def answers(self, path: str, *, is_graph: bool) -> bool:
        """Whether the AI messages that this watched node adds are the answer's.

        Of a graph whose own nodes speak, only theirs are.
        """
        if not self.declared(path).speaks:
            return False
        return not (is_graph and any(self._nodes[inner].speaks for inner in self._inside(path)))

    def declared(self, path: str) -> Declared:
        """What a watched node says of itself."""
        return self._nodes.get(path, SILENT)

    def hears(self, word: Word, node: str, *, by_itself: Declared, path: str) -> bool:
        """Whether what runs at `path`, which is the work of the watched `node`, is heard.

        `by_itself`: what the node says, SILENT if it is a graph.
        """
        return by_itself.says(word) or (
            bool(node) and any(p in self._named[word] for p in _from(node, path))
        )

    def is_named(self, path: str) -> bool:
        """Whether a setting says that it speaks."""
        return path in self._named["speaks"]

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
