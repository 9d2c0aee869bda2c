"""For the tests of a graph of your own: a scripted model, and a run as the service makes it.

Nothing here is loaded by the service. The pytest fixture `scripted_llm` comes with Sluice.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sluice.application.model_calls import current_node
from sluice.domain.chat import Job, Question, Turn, new_id
from sluice.domain.errors import ChatError, PipelineError, UnusableOutput
from sluice.domain.events import Done, Event, Json, Reset, Token
from sluice.domain.ports import LLMClientPort, Prompt, S, Tool, ToolCall
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.token_path import TokenPath

__all__ = ["Reply", "RunResult", "ScriptedLLM", "run_graph"]

Reply = str | ToolCall | ChatError | Sequence[str | ChatError]
"""A text, a tool call, an error, or the pieces of a text with, at their end, maybe an error."""


class ScriptedLLM:
    """An LLMClientPort that plays its replies in order and remembers what it was asked.

    `prompts` are the calls so far, each with its `system`; `replies` are those still to come.
    A call beyond the last reply raises IndexError. `structured` reads its reply as JSON.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = deque(replies)
        self.prompts: list[tuple[Prompt, str | None]] = []

    async def stream(
        self, prompt: Prompt, *, system: str | None = None
    ) -> AsyncGenerator[str, None]:
        node = current_node.get()
        say = node.emitter() if node else None
        for piece in self._played(prompt, system):
            if say:
                say(piece)
            yield piece

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        return "".join(self._played(prompt, system))

    async def structured(self, prompt: Prompt, schema: type[S], *, system: str | None = None) -> S:
        text = await self.complete(prompt, system=system)
        try:
            return schema.model_validate_json(text)
        except ValueError as error:
            raise UnusableOutput from error

    async def call_tool(
        self, prompt: Prompt, tools: Sequence[Tool], *, system: str | None = None
    ) -> ToolCall | str:
        chosen = self.replies[0]
        text = "".join(self._played(prompt, system))
        return chosen if isinstance(chosen, ToolCall) else text

    def _played(self, prompt: Prompt, system: str | None) -> Iterator[str]:
        self.prompts.append((prompt, system))
        reply = self.replies.popleft()
        pieces = [reply] if isinstance(reply, str | ToolCall | ChatError) else reply
        for piece in pieces:
            if isinstance(piece, ChatError):
                raise piece
            if isinstance(piece, str):
                yield piece


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of a graph. `events` are all it told: stages, tokens, resets, the `Done` last."""

    answer: str
    events: Sequence[Event]

    @property
    def tokens(self) -> list[Token]:
        """What was streamed to the user: `content` and `node` of each since the last reset."""
        told: list[Token] = []
        for event in self.events:
            match event:
                case Token():
                    told.append(event)
                case Reset():
                    told.clear()
        return told


async def run_graph(
    build: Callable[[LLMClientPort], object],
    message: str,
    llm: LLMClientPort,
    *,
    history: Sequence[tuple[str, str]] = (),
    metadata: Mapping[str, Json] | None = None,
    speaking_nodes: Sequence[str] = (),
) -> RunResult:
    """Runs the graph that `build` makes as the service does on path A2, for user `tester`.

    `history` are earlier messages as `("user" | "assistant", text)`, oldest first;
    `speaking_nodes` is what SLUICE_SPEAKING_NODES would say. Raises the ChatError in which the
    job would end (PipelineError for whatever a node raises), and TypeError for no StateGraph.
    """
    graph = WatchedGraph(build(llm), frozenset(speaking_nodes))
    job = Job(new_id(), new_id(), "tester", "A2", message, new_id(), metadata=metadata or {})
    turns = [Turn("user" if role == "user" else "assistant", text) for role, text in history]
    events: list[Event] = []
    done = await TokenPath(graph).run(Question(job, turns), events.append)
    if not isinstance(done, Done):
        raise PipelineError("the graph waits for a human")
    return RunResult(done.answer, [*events, done])
