"""Both paths over the same graph: the real SDK, a real server on a socket, no invented event."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import pytest

from sluice.application.ports import PipelinePort
from sluice.domain.chat import Job, Question, Turn
from sluice.domain.errors import ChatError
from sluice.domain.events import (
    Data,
    Done,
    Event,
    Reasoning,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Tool,
)
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.pipeline.visibility import Named
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from sluice.offline_model.server import OfflineModel
from tests.doubles import happening

Build = Callable[..., Any]


def question(text: str = "Tell me", *history: Turn, model: str | None = None) -> Question:
    return Question(Job("job", "chat", "ann", "A2", text, "request", model=model), history)


@dataclass
class Told:
    """What one run said, folded like a client does."""

    events: list[Event] = field(default_factory=list)

    @property
    def done(self) -> Done:
        assert isinstance(self.events[-1], Done)
        return self.events[-1]

    @property
    def tokens(self) -> list[Token]:
        return [event for event in self.events if isinstance(event, Token)]

    @property
    def tools(self) -> list[Tool]:
        return [event for event in self.events if isinstance(event, Tool)]

    @property
    def thoughts(self) -> list[Reasoning]:
        return [event for event in self.events if isinstance(event, Reasoning)]

    @property
    def data(self) -> list[Data]:
        return [event for event in self.events if isinstance(event, Data)]

    @property
    def text(self) -> str:
        pieces: list[str] = []
        for event in self.events:
            if isinstance(event, Reset):
                pieces.clear()
            elif isinstance(event, Token):
                pieces.append(event.content)
        return "".join(pieces)

    @property
    def stages(self) -> list[str]:
        """`+name` for a start, `-name` for an end, `!name` for a failure."""
        return [mark for mark in self.marks if mark[0] != "."]

    @property
    def marks(self) -> list[str]:
        """As `stages`, and `.name` for a token."""
        signs = {StageStarted: "+", StageCompleted: "-", StageFailed: "!"}
        return [
            f".{event.node}" if isinstance(event, Token) else signs[type(event)] + event.stage
            for event in self.events
            if isinstance(event, Token | StageStarted | StageCompleted | StageFailed)
        ]


@dataclass
class Path:
    """`A2` is what the container builds; `A2-tap` never goes past LangChain."""

    name: str
    model: OfflineModel
    completions: ChatCompletions

    @property
    def speaks(self) -> bool:
        return self.name != "A1"

    def llm(self) -> LLMClientPort:
        if self.name == "A1":
            return OpenAILLMClient(self.completions)
        direct = OpenAILLMClient(self.completions) if self.name == "A2" else None
        return LangChainLLMAdapter(self.chat_model(), direct=direct)

    def chat_model(self) -> LangChainOpenAIRunnable:
        return LangChainOpenAIRunnable(completions=self.completions)

    def pipeline(
        self,
        build: Build,
        *,
        speaking: frozenset[str] = frozenset(),
        named: Named | None = None,
        saver: Saver | None = None,
        keeps: bool = False,
    ) -> PipelinePort:
        new_saver = None if saver is None else lambda: saver
        words: Named = {"speaks": speaking, **(named or {})}
        graph = WatchedGraph(build(self.llm()), words, new_saver, keeps=keeps)
        if self.name == "A1":
            return StagePath(graph)
        return TokenPath(graph, reader="messages" if self.name == "A2-messages" else "tap")

    async def tell(self, build: Build, asked: Question | None = None, **options: Any) -> Told:
        """Runs the graph to its end and checks what holds for every run."""
        told = Told()
        await self._run_into(told, build, asked=asked, **options)
        if self.speaks:
            assert told.text == told.done.answer
        else:
            assert told.tokens == []
        assert all(token.content for token in told.tokens)
        return told

    async def fail(self, build: Build, error: type[ChatError], **options: Any) -> Told:
        """Runs the graph until it raises that error."""
        told = Told()
        with pytest.raises(error):
            await self._run_into(told, build, **options)
        return told

    async def _run_into(self, told: Told, build: Build, **options: Any) -> None:
        async with self.running(build, **options) as events:
            async for event in events:
                told.events.append(event)

    def running(
        self, build: Build, asked: Question | None = None, **options: Any
    ) -> "aclosing[AsyncGenerator[Event, None]]":
        return aclosing(happening(self.pipeline(build, **options), asked or question()))


@pytest.fixture
async def instrumented() -> AsyncIterator[None]:
    """Users' own clients are heard, as while the service runs."""
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument()
    yield
    await instrumentor.uninstrument()


@pytest.fixture(params=["A1", "A2", "A2-tap", "A2-messages"])
async def path(
    request: pytest.FixtureRequest, model: OfflineModel, no_generator_left: None
) -> AsyncIterator[Path]:
    completions = ChatCompletions(Upstream(model.base_url, "x", "m"))
    yield Path(request.param, model, completions)
    await completions.aclose()
    assert model.opened == model.closed


@pytest.fixture
async def checkpoints(tmp_path: FilePath) -> AsyncIterator[SqliteCheckpoints]:
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.open()
    yield file
    await file.aclose()


@pytest.fixture
async def saver(checkpoints: SqliteCheckpoints) -> SqliteSaver:
    return SqliteSaver(checkpoints)
