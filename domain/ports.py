"""The two ports the domain asks for: a language model, and somebody to tell."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from sluice.domain.events import Event

Prompt = str | Sequence[Mapping[str, str]]
"""A text, or messages of `{"role", "content"}`, oldest first."""

Tool = Mapping[str, Any]
"""An OpenAI function tool: `{"type": "function", "function": {"name", "parameters", …}}`."""


class Schema(Protocol):
    """What `structured` needs of a Pydantic model."""

    @classmethod
    def model_validate_json(cls, data: str, /) -> Self: ...

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]: ...


S = TypeVar("S", bound=Schema)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The tool that the model chose: its `name`, and its `arguments` as a dict."""

    name: str
    arguments: dict[str, Any]


class LLMClientPort(Protocol):
    """A language model as nodes see it. Every method raises the errors of `domain.errors`.

    Only `stream` speaks: in a speaking node its text goes to the user. The other three are
    silent wherever they are called.
    """

    def stream(self, prompt: Prompt, *, system: str | None = None) -> AsyncGenerator[str, None]:
        """Yields the text as it comes. Closing it closes the upstream's connection."""
        ...

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        """The whole text."""
        ...

    async def structured(self, prompt: Prompt, schema: type[S], *, system: str | None = None) -> S:
        """An instance of `schema`, a Pydantic model. Raises UpstreamBadResponse otherwise."""
        ...

    async def call_tool(
        self, prompt: Prompt, tools: Sequence[Tool], *, system: str | None = None
    ) -> ToolCall | str:
        """The tool the model chose, or its text if it chose none."""
        ...


class NotifierPort(Protocol):
    """Writes one attempt of one job's log, the events' ids contiguous from the last one's."""

    @property
    def attempt(self) -> int: ...

    def publish(self, *events: Event) -> None:
        """Takes events that are not the end; readers see them at once, or in a moment.

        It waits for nothing, so that a token can be published where it is heard. Raises
        Superseded when a later attempt has begun or the log has ended, StreamLost when the
        store has lost the log, and Unavailable when it is closed.
        """
        ...

    async def flush(self) -> None:
        """What was published is as durable on return as the store can make it. Raises as `end`."""
        ...

    async def pause(self, *events: Event) -> None:
        """Publishes the events behind which the log stands still: durable on return.

        Only what `EventLogPort.begin` gives then can write on. Raises as `end` does.
        """
        ...

    async def end(self, *events: Event) -> None:
        """Publishes the last events, of which the last one is terminal: durable on return.

        Raises Superseded, and Unavailable when the store cannot be reached.
        """
        ...
