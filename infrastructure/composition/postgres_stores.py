"""What a deployment with PostgreSQL keeps there: a part of its container.

Imported only where it is used: its libraries are an extra.
"""

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Dependency, Provider, Singleton

from sluice.application.chat_ports import (
    ChatPort,
    HeadPort,
    IdempotencyPort,
    SessionPort,
)
from sluice.application.guard import DeciderPort
from sluice.application.outcomes import OutcomesPort
from sluice.application.pause_port import PausePort
from sluice.application.ports import CheckpointPort
from sluice.application.rollout import ShareChangesPort
from sluice.application.shadows import ShadowsPort
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.heads import PostgresHeads
from sluice.infrastructure.chats.postgres.idempotency import PostgresIdempotency
from sluice.infrastructure.chats.postgres.pauses import PostgresPauses
from sluice.infrastructure.chats.postgres.sessions import PostgresSessions
from sluice.infrastructure.flags.postgres_changes import PostgresShareChanges
from sluice.infrastructure.flags.postgres_decider import PostgresDecider
from sluice.infrastructure.outcomes.postgres import PostgresOutcomes
from sluice.infrastructure.outcomes.postgres_shadows import PostgresShadows
from sluice.infrastructure.pipeline.savers import postgres_saver
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.postgres.checkpoints import PostgresCheckpoints
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.settings import Settings


class PostgresStores(DeclarativeContainer):
    settings: Provider[Settings] = Dependency(instance_of=Settings)
    postgres = Singleton(PostgresDatabase, settings.provided.database)
    chats: Provider[ChatPort] = Singleton(PostgresChats, postgres)
    sessions: Provider[SessionPort] = Singleton(PostgresSessions, postgres)
    keys: Provider[IdempotencyPort] = Singleton(PostgresIdempotency, postgres)
    pauses: Provider[PausePort] = Singleton(
        PostgresPauses, postgres, retention=settings.provided.retention
    )
    share_changes: Provider[ShareChangesPort] = Singleton(PostgresShareChanges, postgres)
    heads: Provider[HeadPort] = Singleton(PostgresHeads, postgres)
    checkpoints: Provider[CheckpointPort] = Singleton(PostgresCheckpoints, postgres)
    saver: Provider[Saver | None] = Singleton(postgres_saver, postgres)
    outcomes: Provider[OutcomesPort] = Singleton(PostgresOutcomes, postgres)
    shadows: Provider[ShadowsPort] = Singleton(PostgresShadows, postgres)
    decider: Provider[DeciderPort] = Singleton(PostgresDecider, postgres)
