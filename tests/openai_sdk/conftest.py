"""Users' clients inside a node run, before a real server on a socket."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from sluice.application.model_calls import CallTeller, ModelCalls, NodeRun, current_node
from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model import OfflineModel
from tests.doubles import RecordingTeller

from .scripted import ScriptedServer

PATIENT = Limits(connect=5, first_token=5, idle=5)


@dataclass
class Run:
    """A speaking node's run. `takes`: nobody but the job hears a merely invoked LangChain model;
    `listens`: LangChain reports to the job, and leaves out what `left_out` is told.
    """

    teller: RecordingTeller = field(default_factory=RecordingTeller)
    left_out: RecordingTeller = field(default_factory=RecordingTeller)
    calls: ModelCalls = field(default_factory=ModelCalls)
    speaks: bool = True
    listens: bool = True
    takes: bool = False
    taken: list[UUID] = field(default_factory=list)
    node: "Node" = field(init=False)

    @contextmanager
    def entered(self) -> Iterator["Run"]:
        self.node = Node(self)
        before = current_node.set(self.node)
        try:
            yield self
        finally:
            current_node.reset(before)

    @property
    def text(self) -> str:
        return "".join(self.teller.said)


class Node(NodeRun):
    def __init__(self, run: Run) -> None:
        super().__init__(run.calls, "answer", speaks=run.speaks)
        self._run = run

    def hear(self) -> CallTeller | None:
        return self._run.teller if self.speaks else None

    def reported(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        return self._run.left_out if self._run.listens else None

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        if not self._run.takes:
            return None
        self._run.taken.append(run_id)
        return self._run.teller


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def instrumented(no_settings: None) -> AsyncIterator[OpenAIInstrumentor]:
    instrumentor = OpenAIInstrumentor(PATIENT)
    instrumentor.instrument()
    yield instrumentor
    await instrumentor.uninstrument()


@pytest.fixture
async def run(instrumented: OpenAIInstrumentor) -> AsyncIterator[Run]:
    """The test is a speaking node."""
    with Run().entered() as run:
        yield run


@pytest.fixture
async def client(model: OfflineModel, no_settings: None) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=model.base_url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def sync_client(model: OfflineModel, no_settings: None) -> Iterator[OpenAI]:
    with OpenAI(base_url=model.base_url, api_key="x", max_retries=0) as client:
        yield client


def chat_model(base_url: str, **options: Any) -> ChatOpenAI:
    given = {"model": "m", "max_retries": 0, **options}
    return ChatOpenAI(base_url=base_url, api_key=SecretStr("x"), **given)
