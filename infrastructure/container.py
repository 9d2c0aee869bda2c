"""Who is who: the one place that knows which adapter stands behind a port.

Synchronous, and built without I/O: the entry point opens and closes what needs it.
"""

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from importlib import import_module
from pathlib import Path

from dependency_injector import containers, providers
from dependency_injector.providers import Callable as Call
from dependency_injector.providers import Factory, Object, Provider, Selector, Singleton

from sluice.application.chats import DeleteChat, ShowChat
from sluice.application.follow import FollowJob
from sluice.application.jobs import CancelJob, ShowJob
from sluice.application.orphans import Orphans
from sluice.application.ports import ConversationPort, EventLogPort, OrphansPort, PipelinePort, Stop
from sluice.application.process_chat import ProcessChat
from sluice.application.submit import SubmitMessage
from sluice.application.tally import Tally
from sluice.domain.chat import ExecutionPath, Job
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.chats.sqlite import SqliteConversations
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.flags.rollout import OpenFeatureFlag
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from sluice.infrastructure.jobs.shared import Bounds, Run
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.infrastructure.openai_sdk.calls import Deadlines
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.infrastructure.pipeline import bundled
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.retrieval.documents import Documents
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.sqlite.database import Database

_path: ContextVar[ExecutionPath] = ContextVar("path_of_current_job")

OFFLINE_MODEL = "sluice-offline"


def path_of_current_job() -> str:
    """The path that was decided when the job was submitted."""
    return _path.get()


def runner(process_chat: Callable[[], ProcessChat]) -> Run:
    """Runs a job on its own path; called in a task, and so in a context, of the job's own."""

    async def run(job: Job, stop: Stop, after: int | None = None) -> None:
        _path.set(job.path)
        await process_chat()(job, stop, after)

    return run


def upstream_of(settings: Settings, offline_url: str | None) -> Upstream:
    return Upstream(
        base_url=offline_url or settings.openai_base_url,
        api_key=settings.openai_api_key or "none",
        model=settings.openai_model or OFFLINE_MODEL,
        connect_timeout=settings.connect_timeout,
        first_token_timeout=settings.first_token_timeout,
        idle_timeout=settings.idle_timeout,
        retries=settings.upstream_retries,
        max_answer=settings.max_answer_bytes,
    )


def deadlines_of(settings: Settings) -> Deadlines:
    return Deadlines(settings.connect_timeout, settings.first_token_timeout, settings.idle_timeout)


def database_of(settings: Settings) -> Database:
    """`memory://` keeps chats in the same engine, without a file."""
    path = settings.store.removeprefix("sqlite:///")
    return Database(":memory:" if settings.store == "memory://" else Path(path))


def log_of(settings: Settings, database: Database) -> EventLogPort:
    if settings.store == "memory://":
        return MemoryEventLog(retention=settings.retention)
    return SqliteEventLog(database, retention=settings.retention)


def bounds_of(settings: Settings) -> Bounds:
    """Where everybody is the one anonymous user, users have no bounds of their own."""
    everyone = settings.auth == "none"
    return Bounds(
        running=settings.max_running,
        queued=settings.max_queued,
        user_running=None if everyone else settings.user_running,
        user_queued=None if everyone else settings.user_queued,
    )


GraphFactory = Callable[[LLMClientPort], object]


def factory_of(settings: Settings) -> GraphFactory:
    """The user's own graph factory, or the bundled one. Raises WrongSetting."""
    if settings.pipeline is None:
        try:
            documents = Documents(settings.documents or bundled_documents())
        except ValueError as error:
            raise WrongSetting(f"SLUICE_DOCUMENTS: {error}") from error
        return lambda llm: bundled.build(llm, documents)
    module, _, name = settings.pipeline.partition(":")
    try:
        factory: GraphFactory = getattr(import_module(module), name)
    except Exception as error:  # importing runs the user's code, which may raise anything
        raise WrongSetting(f"SLUICE_PIPELINE: {_told(error)}") from error
    return factory


def graph_of(settings: Settings, factory: GraphFactory, llm: LLMClientPort) -> WatchedGraph:
    """Calls the factory, once per path. Raises WrongSetting."""
    try:
        graph = factory(llm)
    except Exception as error:  # like the import: the user's code
        raise WrongSetting(f"SLUICE_PIPELINE: {_told(error)}") from error
    try:
        return WatchedGraph(graph, frozenset(settings.speaking_nodes))
    except TypeError as error:
        raise WrongSetting(f"SLUICE_PIPELINE: {error}") from error
    except ValueError as error:
        raise WrongSetting(f"SLUICE_SPEAKING_NODES: {error}") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def bundled_documents() -> Path:
    """Sluice's own docs: inside the wheel, or beside the packages in a checkout."""
    inside = Path(__file__).parent / "retrieval" / "docs"
    return inside if inside.is_dir() else Path(__file__).resolve().parent.parent / "docs"


class Container(containers.DeclarativeContainer):
    settings: Provider[Settings] = providers.Dependency(instance_of=Settings)
    offline_url: Provider[str | None] = Object(None)
    """Where the bundled offline model listens, if it is used."""

    instrumentor: Provider[OpenAIInstrumentor] = Singleton(
        OpenAIInstrumentor,
        Call(deadlines_of, settings),
        enabled=Call(lambda s: s.instrument == "openai", settings),
    )
    """Of users' own clients: on before their graph is built."""

    completions: Provider[ChatCompletions] = Singleton(
        ChatCompletions, Call(upstream_of, settings, offline_url)
    )
    raw_client: Provider[LLMClientPort] = Singleton(OpenAILLMClient, completions)
    wrapped_client: Provider[LLMClientPort] = Singleton(
        LangChainLLMAdapter,
        Singleton(LangChainOpenAIRunnable, completions=completions),
        direct=raw_client,
    )
    offline: Provider[bool] = Call(lambda url: url is not None, offline_url)

    factory = Singleton(factory_of, settings)
    raw_graph = Singleton(graph_of, settings, factory, raw_client)
    wrapped_graph = Singleton(graph_of, settings, factory, wrapped_client)

    pipeline: Provider[PipelinePort] = Selector(
        path_of_current_job,
        A1=Singleton(StagePath, raw_graph, offline=offline),
        A2=Singleton(TokenPath, wrapped_graph, offline=offline),
    )

    tally = Singleton(Tally)
    database: Provider[Database] = Singleton(database_of, settings)
    log: Provider[EventLogPort] = Singleton(log_of, settings, database)
    conversations: Provider[ConversationPort] = Singleton(SqliteConversations, database)

    process_chat: Provider[ProcessChat] = Factory(
        ProcessChat,
        pipeline,
        log,
        conversations,
        tally,
        deadline=settings.provided.total_timeout,
        max_answer=settings.provided.max_answer_bytes,
    )
    run: Provider[Run] = Call(runner, process_chat.provider)
    queue: Provider[InlineJobQueue] = Singleton(
        InlineJobQueue,
        run,
        Call(bounds_of, settings),
        when_busy=settings.provided.when_busy,
        durable=Call(lambda s: s.store != "memory://", settings),
    )

    orphans: Provider[OrphansPort] = Singleton(
        Orphans, queue, log, after=settings.provided.orphaned_after
    )
    flag = Singleton(OpenFeatureFlag, settings.provided.enable_token_streaming)
    submit = Singleton(SubmitMessage, conversations, log, queue, flag, orphans)
    follow = Singleton(
        FollowJob,
        log,
        orphans,
        tally,
        streams=Call(lambda s: None if s.auth == "none" else s.user_streams, settings),
    )
    show_job = Singleton(ShowJob, log)
    cancel = Singleton(CancelJob, log, queue)
    show_chat = Singleton(ShowChat, conversations, log)
    delete_chat = Singleton(DeleteChat, conversations, log, queue)


def build_every_path(container: Container) -> None:
    """Raises WrongSetting now rather than at the first question."""
    paths: tuple[ExecutionPath, ...] = ("A1", "A2")
    for path in paths:
        context = copy_context()  # else every later task of the caller's would inherit a path
        context.run(_path.set, path)
        context.run(container.pipeline)
