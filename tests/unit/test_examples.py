from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from langgraph.graph import StateGraph
from openai import AsyncOpenAI

from examples import agent, minimal, raw_and_langchain
from sluice.domain.chat import Job, Question
from sluice.domain.events import Data, Event, Reasoning, Tool
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter, chat_model_of
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.offline_model.replies import Break, Reply
from sluice.offline_model.server import OfflineModel
from tests.doubles import done_of


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[OfflineModel, None]:
    """A graph has no end at which to close its clients; here the tests know one."""
    async with OfflineModel(pace=0) as model, AsyncExitStack() as clients:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_MODEL", "offline")

        def sdk() -> AsyncOpenAI:
            client = AsyncOpenAI()
            clients.push_async_callback(client.close)
            return client

        def completions(upstream: Upstream) -> ChatCompletions:
            return closed_by(clients, upstream)

        monkeypatch.setattr(raw_and_langchain, "AsyncOpenAI", sdk)
        monkeypatch.setattr(raw_and_langchain, "ChatCompletions", completions)
        yield model


def closed_by(clients: AsyncExitStack, upstream: Upstream) -> ChatCompletions:
    client = ChatCompletions(upstream)
    clients.push_async_callback(client.aclose)
    return client


@pytest.fixture
async def llm(model: OfflineModel) -> AsyncGenerator[OpenAILLMClient, None]:
    async with AsyncExitStack() as clients:
        yield OpenAILLMClient(closed_by(clients, Upstream(model.base_url, "none", "offline")))


async def heard(graph: StateGraph[Any]) -> list[str]:
    """What LangGraph hears of the run: written tokens, and pieces of chat models."""
    said: list[str] = []
    parts = graph.compile().astream(
        {"message": "Hi"}, stream_mode=["custom", "messages"], version="v2"
    )
    async for part in parts:
        data: Any = part["data"]
        said.append(data["token"] if part["type"] == "custom" else data[0].text)
    return [text for text in said if text]


async def test_the_raw_sdk_and_a_langchain_model_are_both_heard(
    model: OfflineModel, llm: OpenAILLMClient
) -> None:
    model.script(Reply(["무색 ", "페트병"]), Reply(["And ", "why?"]))
    graph = raw_and_langchain.build(llm)
    assert await heard(graph) == ["무색 ", "페트병", "\n\n", "And ", "why?"]


async def test_the_raw_sdk_does_not_pass_off_half_an_answer_as_one(
    model: OfflineModel, llm: OpenAILLMClient
) -> None:
    model.script(Reply(["Half", Break.END]))
    with pytest.raises(ConnectionError):
        await heard(raw_and_langchain.build(llm))


async def test_the_minimal_graph_answers(model: OfflineModel, llm: OpenAILLMClient) -> None:
    model.script(Reply(["Hel", "lo"]))
    final = await minimal.build(llm).compile().ainvoke({"message": "Hi"})
    assert final["answer"] == "Hello"


@pytest.mark.parametrize("a2", [False, True])
@pytest.mark.parametrize(
    ("question", "name", "arguments", "answer"),
    [
        (
            "Search the prices of tea",
            "search",
            '{"query":"Search the prices of tea"}',
            "The tool says: [Prices of tea](https://example.com/tea): Green tea: 9 euros.",
        ),
        ("Convert 12 euros to won", "convert", '{"euros":12}', "The tool says: **18,000 won**"),
    ],
)
async def test_the_agent_shows_its_calls_its_reasoning_and_its_sources(
    llm: OpenAILLMClient, a2: bool, question: str, name: str, arguments: str, answer: str
) -> None:
    graph = WatchedGraph(agent.build(LangChainLLMAdapter(chat_model_of(llm)) if a2 else llm))
    events: list[Event] = []
    job = Job("job", "chat", "ann", "A2" if a2 else "A1", question, "request")
    path = TokenPath(graph) if a2 else StagePath(graph)
    done = done_of(await path.run(Question(job, []), events.append))
    tools = [event for event in events if isinstance(event, Tool)]
    assert [(each.status, each.name) for each in tools] == [
        (status, name) for status in ("started", "arguments", "completed")
    ]
    assert tools[1].arguments == arguments
    thoughts = "".join(each.content for each in events if isinstance(each, Reasoning))
    assert question in thoughts if a2 else not thoughts
    assert len([each for each in events if isinstance(each, Data)]) == (name == "search")
    assert done.answer == answer


@pytest.mark.parametrize(
    ("build", "speaking"),
    [
        (minimal.build, ["answer"]),
        (raw_and_langchain.build, ["answer", "follow_up"]),
        (agent.build, ["agent"]),
    ],
)
async def test_the_examples_declare_who_speaks(
    build: Any, speaking: list[str], llm: OpenAILLMClient
) -> None:
    nodes = build(llm).nodes
    assert [name for name, node in nodes.items() if node.metadata.get("speaks")] == speaking
