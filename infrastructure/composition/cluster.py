"""What gateways and workers share: jobs and logs in Redis, chats in PostgreSQL.

Imported only where it is used: its libraries are an extra.
"""

from dependency_injector.providers import Provider, Singleton

from sluice.application.ports import EventLogPort
from sluice.infrastructure.composition.base import Base
from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.composition.postgres_stores import PostgresStores
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.jobs.redis.scheduler import RedisScheduler
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
    parts = (PostgresStores,)
    postgres: Provider[PostgresDatabase]
    redis = Singleton(redis_of, Base.settings)
    scheduler = Singleton(RedisScheduler, redis)
    log: Provider[EventLogPort] = Singleton(
        RedisEventLog, redis, retention=Base.settings.provided.retention
    )
