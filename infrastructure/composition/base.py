"""What every deployment has in common: the use cases, and the two paths that a job can take.

The ports are dependencies here: each deployment declares its adapters.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import cache
from typing import Any

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import (
    Aggregate,
    Dependency,
    Factory,
    Object,
    Provider,
    Singleton,
)
from dependency_injector.providers import Callable as Call

from sluice.application.answer_input import AnswerInput
from sluice.application.chat_ports import ChatPort, HeadPort, IdempotencyPort, SessionPort
from sluice.application.chats import DeleteChat, ShowChat
from sluice.application.deliveries import Deliveries
from sluice.application.export import ExportOutcomes
from sluice.application.follow import FollowJob
from sluice.application.forgetting import Forgetting
from sluice.application.graph_states import ForgetThreads, GraphStates
from sluice.application.guard import DeciderPort, Guard
from sluice.application.jobs import CancelJob, ShowJob
from sluice.application.metrics import JobMetrics
from sluice.application.outcomes import OutcomesPort
from sluice.application.pause_port import PausePort
from sluice.application.pauses import Pauses
from sluice.application.ports import (
    CheckpointPort,
    EventLogPort,
    PipelinePort,
    ReadersPort,
    Record,
    Stop,
    nothing,
)
from sluice.application.process_chat import ProcessChat
from sluice.application.rollout import ControlShare, RolloutFlag, ShareChangesPort
from sluice.application.rollout_changes import SetShare, ShowRollout, StartPlan, SteerPlan
from sluice.application.sessions import Sessions
from sluice.application.shadow import Shadow
from sluice.application.shadows import ShadowsPort, ShowShadows
from sluice.application.side_calls import AskModel
from sluice.application.submit import SubmitMessage
from sluice.domain.chat import ExecutionPath, Job
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.composition.flag_provider import provider_of, sources_of
from sluice.infrastructure.composition.user_graph import factory_of, graph_of, shadow_of
from sluice.infrastructure.composition.values import bounds_of, limits_of, streams_of, upstream_of
from sluice.infrastructure.jobs.shared import Run
from sluice.infrastructure.json_schema import check_value
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.settings import Settings
from sluice.infrastructure.telemetry.spans import OpenTelemetrySpans


def runner(
    pipeline: Callable[[ExecutionPath], PipelinePort],
    process_chat: Callable[..., ProcessChat],
    *,
    fallback: bool = False,
) -> Run:
    """Runs a job on the path that was decided when it was submitted, and on A1 where A2 fails."""

    @cache
    def on(path: ExecutionPath) -> ProcessChat:
        other = {"fallback": pipeline("A1")} if fallback and path == "A2" else {}
        return process_chat(pipeline(path), **other)

    def run(
        job: Job, stop: Stop, after: int | None = None, returns: int = 0, /
    ) -> Coroutine[Any, Any, datetime | None]:
        return on(job.path)(job, stop, after, returns)

    return run


class Base(DeclarativeContainer):
    settings: Provider[Settings] = Dependency(instance_of=Settings)
    offline_url: Provider[str | None] = Object(None)
    """Where the bundled offline model listens, if it is used."""

    # Declared by each deployment; a gateway runs nothing, and a worker takes nothing.
    log: Provider[EventLogPort] = Dependency()
    chats: Provider[ChatPort] = Dependency()
    sessions: Provider[SessionPort] = Dependency()
    keys: Provider[IdempotencyPort] = Dependency()
    pauses: Provider[PausePort] = Dependency()
    share_changes: Provider[ShareChangesPort] = Dependency()
    heads: Provider[HeadPort] = Dependency()
    checkpoints: Provider[CheckpointPort] = Dependency()
    saver: Provider[Saver | None] = Dependency()
    """Asked for by a graph that leaves checkpoints; None where nothing could keep them."""
    outcomes: Provider[OutcomesPort] = Dependency()
    shadows: Provider[ShadowsPort] = Dependency()
    decider: Provider[DeciderPort] = Dependency()
    queue: Provider[Any] = Dependency()
    """A JobQueuePort, whose type each deployment knows better."""
    readers: Provider[ReadersPort] = Dependency()

    metrics = Singleton(JobMetrics)
    spans = Singleton(OpenTelemetrySpans)
    bounds = Call(bounds_of, settings)

    completions: Provider[ChatCompletions] = Singleton(
        ChatCompletions, Call(upstream_of, settings, offline_url)
    )
    raw_client: Provider[OpenAILLMClient] = Singleton(OpenAILLMClient, completions)
    wrapped_client: Provider[LLMClientPort] = Singleton(
        LangChainLLMAdapter,
        Singleton(LangChainOpenAIRunnable, completions=completions),
        direct=raw_client,
    )
    offline: Provider[bool] = Call(lambda url: url is not None, offline_url)

    instrumentor: Provider[OpenAIInstrumentor] = Singleton(
        OpenAIInstrumentor,
        Call(limits_of, settings),
        enabled=Call(lambda s: s.instrument == "openai", settings),
    )
    """Of users' own clients: on before their graph is built."""

    factory = Singleton(factory_of, settings)
    raw_graph = Singleton(graph_of, settings, factory, raw_client, saver.provider)
    wrapped_graph = Singleton(graph_of, settings, factory, wrapped_client, saver.provider)

    pipeline: Provider[PipelinePort] = Aggregate(
        A1=Singleton(StagePath, raw_graph, offline=offline),
        A2=Singleton(TokenPath, wrapped_graph, offline=offline),
    )
    """Asked for a job's path: client and reader are chosen together, here and nowhere else."""

    states = Singleton(
        GraphStates,
        heads,
        checkpoints,
        keeps=Call(lambda s: s.state == "graph", settings),
        leaves=Call(lambda graph: graph.saver is not None, wrapped_graph),
        prunable=Call(lambda graph: not graph.builds_on, wrapped_graph),
        retention=settings.provided.retention,
    )
    shadow_pipeline: Provider[PipelinePort] = Aggregate(
        A1=Singleton(StagePath, Singleton(shadow_of, raw_graph), offline=offline),
        A2=Singleton(TokenPath, Singleton(shadow_of, wrapped_graph), offline=offline),
    )
    shadow = Singleton(
        Shadow,
        shadow_pipeline.provider,
        shadows,
        log,
        metrics,
        settings.provided.shadow,
        budget=settings.provided.shadow_budget,
        deadline=settings.provided.total_timeout,
        max_answer=settings.provided.max_answer_bytes,
        spans=spans,
    )
    process_chat: Provider[ProcessChat] = Factory(
        ProcessChat,
        log=log,
        chats=chats,
        metrics=metrics,
        pauses=Singleton(Pauses, pauses, log, timeout=settings.provided.input_timeout),
        deadline=settings.provided.total_timeout,
        max_answer=settings.provided.max_answer_bytes,
        states=states,
        spans=spans,
        shadow=shadow,
    )
    run: Provider[Run] = Call(
        runner, pipeline.provider, process_chat.provider, fallback=settings.provided.fallback
    )

    control = Singleton(ControlShare, share_changes)
    flag_provider = Singleton(provider_of, settings)
    flag = Singleton(
        RolloutFlag,
        settings.provided.enable_token_streaming,
        Call(sources_of, control, flag_provider),
    )
    announce: Provider[Record] = Object(nothing)
    """Tells others that the share was changed, where there are any."""
    show_shadows = Singleton(
        ShowShadows, shadows, settings.provided.shadow, settings.provided.shadow_budget
    )
    show_rollout = Singleton(ShowRollout, flag, control, share_changes, outcomes, show_shadows)
    set_share = Singleton(SetShare, flag, control, share_changes, announce)
    start_plan = Singleton(StartPlan, flag, control, share_changes, outcomes, announce)
    steer_plan = Singleton(SteerPlan, flag, control, share_changes, announce)
    guard = Singleton(Guard, control, share_changes, outcomes, decider, announce)
    export_outcomes = Singleton(ExportOutcomes, outcomes)
    submit = Singleton(SubmitMessage, chats, sessions, keys, log, queue, flag, readers)
    deliveries = Singleton(
        Deliveries, outcomes, metrics, retention=settings.provided.outcomes_retention
    )
    follow = Singleton(
        FollowJob,
        log,
        readers,
        metrics,
        deliveries,
        streams=Call(streams_of, settings),
        spans=spans,
    )
    show_job = Singleton(ShowJob, log, pauses)
    cancel = Singleton(CancelJob, log, queue)
    answer_input = Singleton(AnswerInput, pauses, log, queue, Object(check_value))
    show_chat = Singleton(ShowChat, chats, log)
    forget_threads = Singleton(ForgetThreads, heads, checkpoints)
    forgetting = Singleton(Forgetting, pauses, forget_threads)
    delete_chat = Singleton(DeleteChat, chats, log, queue, forget_threads)
    ask_model = Singleton(
        AskModel,
        raw_client,
        calls=bounds.provided.running,
        user_calls=bounds.provided.user_running,
        deadline=settings.provided.total_timeout,
    )
    named = Singleton(Sessions, sessions, keys, show_chat, log, queue)
