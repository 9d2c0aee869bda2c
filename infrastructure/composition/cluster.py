"""What gateways and workers share: jobs and logs in Redis, chats in PostgreSQL.

Imported only where it is used: its libraries are an extra.
"""

from dependency_injector.providers import Provider, Singleton

from sluice.application.chat_ports import (
    ChatPort,
    HeadPort,
    IdempotencyPort,
    PausePort,
    SessionPort,
)
from sluice.application.guard import DeciderPort
from sluice.application.outcomes import OutcomesPort
from sluice.application.ports import CheckpointPort, EventLogPort
from sluice.application.rollout import ShareChangesPort
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.heads import PostgresHeads
from sluice.infrastructure.chats.postgres.idempotency import PostgresIdempotency
from sluice.infrastructure.chats.postgres.pauses import PostgresPauses
from sluice.infrastructure.chats.postgres.sessions import PostgresSessions
from sluice.infrastructure.composition.base import Base
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.flags.postgres_changes import PostgresShareChanges
from sluice.infrastructure.flags.postgres_decider import PostgresDecider
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
from sluice.infrastructure.outcomes.postgres import PostgresOutcomes
from sluice.infrastructure.pipeline.savers import postgres_saver
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.postgres.checkpoints import PostgresCheckpoints
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.redis.client import RedisClient
from sluice.infrastructure.settings import RedisStore, Settings, WrongSetting


def redis_of(settings: Settings) -> RedisClient:
    """Raises WrongSetting."""
    try:
        return RedisClient.at(url_of(settings))
    except (TypeError, ValueError) as error:
        raise WrongSetting("SLUICE_STORE: names an option that Redis's client has not") from error


def url_of(settings: Settings) -> str:
    """Raises WrongSetting for another store."""
    if not isinstance(settings.store, RedisStore):
        raise WrongSetting("SLUICE_STORE: workers and gateways share a Redis: redis://host")
    return settings.store.url


@deployment
class Cluster(Base):
    redis = Singleton(redis_of, Base.settings)
    scheduler = Singleton(RedisScheduler, redis)
    log: Provider[EventLogPort] = Singleton(
        RedisEventLog, redis, retention=Base.settings.provided.retention
    )
    postgres = Singleton(PostgresDatabase, Base.settings.provided.database)
    chats: Provider[ChatPort] = Singleton(PostgresChats, postgres)
    sessions: Provider[SessionPort] = Singleton(PostgresSessions, postgres)
    keys: Provider[IdempotencyPort] = Singleton(PostgresIdempotency, postgres)
    pauses: Provider[PausePort] = Singleton(PostgresPauses, postgres)
    share_changes: Provider[ShareChangesPort] = Singleton(PostgresShareChanges, postgres)
    heads: Provider[HeadPort] = Singleton(PostgresHeads, postgres)
    checkpoints: Provider[CheckpointPort] = Singleton(PostgresCheckpoints, postgres)
    saver: Provider[Saver | None] = Singleton(postgres_saver, postgres)
    outcomes: Provider[OutcomesPort] = Singleton(PostgresOutcomes, postgres)
    decider: Provider[DeciderPort] = Singleton(PostgresDecider, postgres)
