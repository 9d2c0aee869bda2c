"""Every container: its paths and its adapters are built, without I/O, each job on its own path."""

import asyncio
import socket
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict
from unittest.mock import Mock

import pytest
from dependency_injector.errors import Error
from langgraph.graph import START, StateGraph

from sluice.application.ports import PipelinePort
from sluice.application.scheduling import Bounds
from sluice.application.unread import CancelUnread
from sluice.domain.chat import ExecutionPath, Job
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.chats.memory import MemoryChats
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.idempotency import PostgresIdempotency
from sluice.infrastructure.chats.postgres.pauses import PostgresPauses
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.composition.base import Base, runner
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.composition.embedded_postgres import EmbeddedPostgres
from sluice.infrastructure.composition.gateway import Gateway
from sluice.infrastructure.composition.starting import build_every_path
from sluice.infrastructure.composition.user_graph import bundled_documents
from sluice.infrastructure.composition.values import bounds_of, upstream_of
from sluice.infrastructure.composition.worker import Worker
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.flags.postgres_changes import PostgresShareChanges
from sluice.infrastructure.flags.redis_news import RedisShareNews
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.readers import RedisReaders
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.pipeline.savers.postgres import PostgresSaver
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.settings import WrongSetting, read_settings
from tests.doubles import MockPipeline, a_job

pytestmark = pytest.mark.usefixtures("no_settings", "no_network")

PIPELINE = MockPipeline()


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


def container(**given: Any) -> Embedded:
    return Embedded(settings=read_settings(**{"store": "memory://", **given}))


POSTGRES: dict[str, Any] = {"database": "postgresql://nobody@postgres.example/none"}
CLUSTER: dict[str, Any] = {"store": "redis://redis.example", **POSTGRES}
DEPLOYMENTS: dict[str, tuple[type[Base], dict[str, Any], dict[str, type]]] = {
    "memory": (
        Embedded,
        {"store": "memory://"},
        {
            "log": MemoryEventLog,
            "chats": MemoryChats,
            "queue": InlineJobQueue,
            "readers": CancelUnread,
        },
    ),
    "sqlite": (
        Embedded,
        {"store": "sqlite:////nowhere/sluice.db"},
        {
            "log": SqliteEventLog,
            "chats": SqliteChats,
            "keys": SqliteIdempotency,
            "pauses": SqlitePauses,
            "share_changes": SqliteShareChanges,
        },
    ),
    "sqlite, chats in PostgreSQL": (
        EmbeddedPostgres,
        {"store": "sqlite:////nowhere/sluice.db", **POSTGRES},
        {
            "log": SqliteEventLog,
            "chats": PostgresChats,
            "keys": PostgresIdempotency,
            "pauses": PostgresPauses,
            "share_changes": PostgresShareChanges,
        },
    ),
    "gateway": (
        Gateway,
        CLUSTER,
        {
            "log": RedisEventLog,
            "chats": PostgresChats,
            "queue": RedisJobQueue,
            "readers": CancelUnread,
            "share_changes": PostgresShareChanges,
            "share_news": RedisShareNews,
        },
    ),
    "gateway that tells who reads": (
        Gateway,
        {**CLUSTER, "on_disconnect": "cancel:1"},
        {"readers": RedisReaders, "redis_readers": RedisReaders},
    ),
    "worker": (Worker, CLUSTER, {"log": RedisEventLog, "worker": JobWorker}),
}
NOT_A_WORKERS = {
    "queue",
    "readers",
    "submit",
    "follow",
    "cancel",
    "delete_chat",
    "named",
    "answer_input",
}


@pytest.mark.parametrize("name", DEPLOYMENTS)
async def test_every_adapter_of_a_deployment_is_built_without_a_network(name: str) -> None:
    kind, given, declared = DEPLOYMENTS[name]
    everything = kind(settings=read_settings(**given))
    left_out = NOT_A_WORKERS if kind is Worker else set()
    arguments: dict[str, list[Any]] = {
        "pipeline": ["A1"], "shadow_pipeline": ["A1"], "process_chat": [PIPELINE]
    }  # fmt: skip
    built = {
        provided: provider(*arguments.get(provided, []))
        for provided, provider in everything.providers.items()
        if provided not in left_out
    }
    build_every_path(everything)
    assert len(built) >= 20
    assert {port: type(built[port]) for port in declared} == declared


@pytest.mark.parametrize(
    ("name", "saver"),
    [
        ("sqlite", SqliteSaver),
        ("sqlite, chats in PostgreSQL", PostgresSaver),
        ("worker", PostgresSaver),
    ],
)
async def test_a_graph_that_keeps_its_state_has_our_saver_on_both_paths(
    name: str, saver: type, tmp_path: Path, own: ModuleType
) -> None:
    kind, given, _ = DEPLOYMENTS[name]
    assert kind(settings=read_settings(**given)).wrapped_graph().saver is None
    everything = kind(settings=read_settings(**given, state="graph"))
    graphs = everything.raw_graph(), everything.wrapped_graph()
    assert {type(graph.saver) for graph in graphs} == {saver}
    assert graphs[0].saver is graphs[1].saver is everything.saver()
    states = everything.process_chat(PIPELINE)._states
    assert states is not None
    assert (states._heads, states._checkpoints) == (everything.heads(), everything.checkpoints())


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name != "worker"])
async def test_the_use_cases_of_a_deployment_share_its_adapters(name: str) -> None:
    kind, given, _ = DEPLOYMENTS[name]
    everything = kind(settings=read_settings(**given))
    submit, show = everything.submit(), everything.show_chat()
    assert submit._log is show._log is everything.log()
    assert submit._chats is show._chats is everything.chats()
    assert submit._queue is everything.queue()
    assert submit._readers is everything.readers()
    assert submit._flag is everything.flag()
    assert everything.set_share()._changes is everything.share_changes()
    assert everything.set_share()._announce == everything.announce()


@pytest.mark.parametrize("name", sorted(NOT_A_WORKERS))
async def test_a_worker_has_nothing_to_take_a_question_with(name: str) -> None:
    worker = Worker(settings=read_settings(**CLUSTER))
    with pytest.raises(Error, match="is not defined"):
        worker.providers[name]()


def test_a_deployment_leaves_the_base_and_the_others_as_they_are() -> None:
    with pytest.raises(Error, match="is not defined"):
        Base(settings=read_settings()).log()
    shared = EmbeddedPostgres(settings=read_settings(store="memory://", **POSTGRES))
    assert isinstance(shared.chats(), PostgresChats)
    assert isinstance(container().chats(), MemoryChats)


def test_building_touches_no_file(tmp_path: Path) -> None:
    build_every_path(store := container(store=f"sqlite:///{tmp_path}/new/sluice.db"))
    store.chats()
    assert list(tmp_path.iterdir()) == []


def test_the_path_of_a_job_chooses_client_and_reader_together(own: ModuleType) -> None:
    both = container()
    assert isinstance(both.pipeline("A1"), StagePath)
    assert [type(client) for client in own.build.clients] == [OpenAILLMClient]
    assert isinstance(both.pipeline("A2"), TokenPath)
    assert [type(client) for client in own.build.clients][1:] == [LangChainLLMAdapter]


async def test_jobs_side_by_side_take_each_their_own_path() -> None:
    paths: list[ExecutionPath] = ["A1", "A2", "A2", "A1"]
    taken: list[tuple[ExecutionPath, type]] = []
    both = container()

    def process_chat(pipeline: PipelinePort) -> Any:
        async def process(job: Job, *_: object) -> None:
            await asyncio.sleep(0)
            taken.append((job.path, type(pipeline)))

        return process

    run = runner(both.pipeline, process_chat)
    await asyncio.gather(*(run(a_job(path=path), lambda: None) for path in paths))
    assert len(taken) == len(paths)
    assert set(taken) == {("A1", StagePath), ("A2", TokenPath)}


def test_a_graph_is_made_once_for_each_path(own: ModuleType) -> None:
    both = container()
    build_every_path(both)
    build_every_path(both)
    assert both.pipeline("A2") is both.pipeline("A2")
    assert len(own.build.clients) == 2


async def test_both_paths_reach_the_same_upstream() -> None:
    both = container()
    assert both.raw_client() is not both.wrapped_client()
    assert both.completions() is both.completions()


def shadow_safe(llm: LLMClientPort, *, stops: bool = False) -> object:
    graph = Factory()(llm).compile(interrupt_before=["answer"] if stops else [])
    return graph.with_config(metadata={"shadow_safe": True})


def test_a_shadow_runs_what_was_made_for_its_path(
    own: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Mock(side_effect=shadow_safe)
    monkeypatch.setattr(own, "build", build)
    build_every_path(both := container(shadow="1%"))
    assert type(both.shadow_pipeline("A1")) is StagePath
    assert type(both.shadow_pipeline("A2")) is TokenPath
    assert build.call_count == 2


@pytest.mark.parametrize(
    ("graph", "says"),
    [(Factory(), "does not say"), (partial(shadow_safe, stops=True), "stop for a human")],
)
async def test_a_graph_that_may_not_run_twice_is_told_so_unless_it_need_not(
    own: ModuleType, graph: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "build", graph)
    store = f"sqlite:///{tmp_path}/a.db"
    build_every_path(container(store=store))
    with pytest.raises(WrongSetting, match=rf"^SLUICE_SHADOW: .*{says}"):
        build_every_path(container(store=store, shadow="1%"))


def test_two_containers_share_nothing() -> None:
    one, other = container(), container()
    assert one.log() is not other.log()
    assert one.queue() is not other.queue()


@pytest.mark.parametrize("path", ["", "A3", "a1", None])
def test_a_job_without_a_path_is_a_fault_of_ours_and_not_a_guess(path: Any) -> None:
    both = container()
    build_every_path(both)
    with pytest.raises(Error):
        both.pipeline(path)


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


@pytest.mark.parametrize("word", ["speaking", "tool", "reasoning", "data"])
def test_a_node_that_is_not_there_cannot_be_named(own: ModuleType, word: str) -> None:
    named = {f"{word}_nodes": "nobody"}
    with pytest.raises(WrongSetting, match=rf"^SLUICE_{word.upper()}_NODES: .*nobody"):
        build_every_path(container(**named))


def test_the_start_says_once_who_could_speak_where_nobody_is_declared(
    own: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(state: State) -> State:
        return state

    def build(llm: Any) -> Any:
        async def ask(state: State) -> State:
            return {"message": await llm.complete(state["message"])}

        graph = StateGraph(State).add_node("ask", ask).add_node("answer", answer)
        return graph.add_edge(START, "ask").add_edge("ask", "answer")

    own.__dict__.update(build=build)
    with caplog.at_level("INFO"):
        build_every_path(container())
    (said,) = [record.getMessage() for record in caplog.records]
    assert "these can call a model: ask." in said
    assert "SLUICE_SPEAKING_NODES" in said
    assert len(said.splitlines()) == 1


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
    assert upstream.piece_interval == 0.1
    assert (upstream.base_url, upstream.api_key, upstream.model) == (
        "http://127.0.0.1:2/v1", "key", "m",
    )  # fmt: skip
    assert (upstream.idle_timeout, upstream.retries) == (7, 0)


def test_where_everybody_is_one_user_bounds_per_user_do_not_apply() -> None:
    assert bounds_of(read_settings()) == Bounds(64, 1000, None, None)
    assert bounds_of(read_settings(auth="trusted-header")) == Bounds(64, 1000, 3, 10)


async def test_a_jobs_stop_and_the_attempts_before_it_reach_its_run() -> None:
    asked: list[object] = []

    def process_chat(_: PipelinePort) -> Any:
        async def process(job: Job, stop: Any, after: int | None, returns: int) -> None:
            asked.append((stop(), after, returns))

        return process

    await runner(lambda _: PIPELINE, process_chat)(a_job(), lambda: "user", 2, 1)
    assert asked == [("user", 2, 1)]
