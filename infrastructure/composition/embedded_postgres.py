"""The embedded service with its chats in PostgreSQL; the logs of its jobs stay where they are.

Imported only where it is used: its libraries are an extra.
"""

from dependency_injector.providers import Provider

from sluice.infrastructure.composition.declaring import deployment
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.composition.postgres_stores import PostgresStores
from sluice.infrastructure.postgres.database import PostgresDatabase


@deployment
class EmbeddedPostgres(Embedded):
    parts = (PostgresStores,)
    postgres: Provider[PostgresDatabase]
