"""The container: every path and every adapter is built, without a network, each on its own path."""

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict, TypeVar

import pytest
from langgraph.graph import START, StateGraph

from sluice.application.scheduling import Bounds
from sluice.domain.chat import ExecutionPath, Job
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.container import (
    Container,
    bounds_of,
    build_every_path,
    bundled_documents,
    runner,
    upstream_of,
)
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.settings import WrongSetting, read_settings
from tests.doubles import a_job

pytestmark = pytest.mark.usefixtures("no_settings", "no_network")

T = TypeVar("T")
STORES = ["memory://", "sqlite:////nowhere/sluice.db"]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the container went to the network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class State(TypedDict, total=False):
    message: str
    answer: str


async def answer(state: State) -> State:
    return {"answer": state["message"]}


class Factory:
    """A user's own `build`, which remembers the clients it was given."""

    def __init__(self) -> None:
        self.clients: list[LLMClientPort] = []

    def __call__(self, llm: LLMClientPort) -> StateGraph[State]:
        self.clients.append(llm)
        graph = StateGraph(State)
        graph.add_node("answer", answer, metadata={"speaks": True})
        return graph.add_edge(START, "answer")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that SLUICE_PIPELINE names; `build` is a factory of the user's."""
    module = ModuleType("graph_of_this_test")
    module.build = Factory()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("SLUICE_PIPELINE", f"{module.__name__}:build")
    return module


def container(**given: Any) -> Container:
    return Container(settings=read_settings(**{"store": "memory://", **given}))


async def on_path(path: ExecutionPath, build: Callable[[], T]) -> T:
    """What `build` gives within the run of a job of that path, in a task of its own."""
    built: list[T] = []

    def process_chat() -> Any:
        return process

    async def process(*_: object) -> None:
        await asyncio.sleep(0)
        built.append(build())

    await asyncio.create_task(runner(process_chat)(a_job(path=path), lambda: None))
    return built[0]


@pytest.mark.parametrize("path", ["A1", "A2"])
@pytest.mark.parametrize("store", STORES)
async def test_every_adapter_is_built_without_a_network(path: ExecutionPath, store: str) -> None:
    everything = container(store=store)
    build_every_path(everything)
    providers = everything.providers.values()
    built = await on_path(path, lambda: [provider() for provider in providers])
    assert len(built) >= 20
    assert isinstance(everything.log(), MemoryEventLog if "memory" in store else SqliteEventLog)


def test_building_touches_no_file(tmp_path: Path) -> None:
    build_every_path(store := container(store=f"sqlite:///{tmp_path}/new/sluice.db"))
    store.conversations()
    assert list(tmp_path.iterdir()) == []


async def test_the_path_of_a_job_chooses_client_and_reader_together(own: ModuleType) -> None:
    both = container()
    assert isinstance(await on_path("A1", both.pipeline), StagePath)
    assert [type(client) for client in own.build.clients] == [OpenAILLMClient]
    assert isinstance(await on_path("A2", both.pipeline), TokenPath)
    assert [type(client) for client in own.build.clients][1:] == [LangChainLLMAdapter]


async def test_jobs_side_by_side_take_each_their_own_path() -> None:
    both = container()
    paths: list[ExecutionPath] = ["A1", "A2", "A2", "A1"]
    pipelines = await asyncio.gather(*(on_path(path, both.pipeline) for path in paths))
    assert [type(one) for one in pipelines] == [StagePath, TokenPath, TokenPath, StagePath]


async def test_a_graph_is_made_once_for_each_path(own: ModuleType) -> None:
    both = container()
    build_every_path(both)
    build_every_path(both)
    assert await on_path("A2", both.pipeline) is await on_path("A2", both.pipeline)
    assert len(own.build.clients) == 2


async def test_both_paths_reach_the_same_upstream() -> None:
    both = container()
    assert both.raw_client() is not both.wrapped_client()
    assert both.completions() is both.completions()


def test_two_containers_share_nothing() -> None:
    one, other = container(), container()
    assert one.log() is not other.log()
    assert one.queue() is not other.queue()


def test_a_job_without_a_path_is_a_fault_of_ours_and_not_a_guess() -> None:
    both = container()
    build_every_path(both)
    with pytest.raises(LookupError):
        both.pipeline()


def no_graph(_: LLMClientPort) -> object:
    return "a string"


def broken(_: LLMClientPort) -> object:
    raise ValueError("of several\nlines")


def needs_more(_: LLMClientPort, __: object) -> object:
    return None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module:build", "ModuleNotFoundError"),
        ("graph_of_this_test:other", "AttributeError"),
        ("graph_of_this_test:a.b", "AttributeError"),
        ("graph_of_this_test:no_graph", "a StateGraph is wanted, not str"),
        ("graph_of_this_test:broken", "ValueError: of several lines"),
        ("graph_of_this_test:needs_more", "TypeError"),
        ("graph_of_this_test:nothing", "TypeError"),
        ("graph_of_this_test:no_entry", "entrypoint"),
    ],
)
def test_a_pipeline_that_cannot_be_used_is_told_in_one_line(
    own: ModuleType, value: str, said: str
) -> None:
    own.__dict__.update(no_graph=no_graph, broken=broken, needs_more=needs_more, nothing=None)
    own.__dict__.update(no_entry=lambda _: StateGraph(State))
    with pytest.raises(WrongSetting) as refused:
        build_every_path(container(pipeline=value))
    assert str(refused.value).startswith("SLUICE_PIPELINE: ")
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_module_that_fails_while_it_is_imported_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fails_at_import.py").write_text("import this_module_is_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WrongSetting, match=r"^SLUICE_PIPELINE: .*this_module_is_nowhere"):
        build_every_path(container(pipeline="fails_at_import:build"))


def test_a_node_that_is_not_there_cannot_speak(own: ModuleType) -> None:
    with pytest.raises(WrongSetting, match=r"^SLUICE_SPEAKING_NODES: .*nobody"):
        build_every_path(container(speaking_nodes="nobody"))


def test_documents_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match=r"^SLUICE_DOCUMENTS: "):
        build_every_path(container(documents=str(tmp_path / "none")))


def test_the_bundled_documents_are_sluices_own() -> None:
    assert (bundled_documents() / "events.md").is_file()


def test_the_offline_model_is_nothing_but_a_base_url() -> None:
    upstream = upstream_of(read_settings(), "http://127.0.0.1:1/v1")
    assert (upstream.base_url, upstream.model) == ("http://127.0.0.1:1/v1", "sluice-offline")


def test_the_upstream_is_the_one_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:2/v1")
    monkeypatch.setenv("OPENAI_MODEL", "m")
    upstream = upstream_of(read_settings(idle_timeout=7, upstream_retries=0), None)
    assert (upstream.base_url, upstream.api_key, upstream.model) == (
        "http://127.0.0.1:2/v1", "key", "m",
    )  # fmt: skip
    assert (upstream.idle_timeout, upstream.retries) == (7, 0)


def test_where_everybody_is_one_user_bounds_per_user_do_not_apply() -> None:
    assert bounds_of(read_settings()) == Bounds(64, 1000, None, None)
    assert bounds_of(read_settings(auth="trusted-header")) == Bounds(64, 1000, 3, 10)


async def test_a_jobs_stop_and_the_attempts_before_it_reach_its_run() -> None:
    asked: list[object] = []

    def process_chat() -> Any:
        async def process(job: Job, stop: Any, after: int | None, returns: int) -> None:
            asked.append((stop(), after, returns))

        return process

    await runner(process_chat)(a_job(), lambda: "user", 2, 1)
    assert asked == [("user", 2, 1)]
