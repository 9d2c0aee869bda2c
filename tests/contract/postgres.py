"""What the stores in PostgreSQL have in common: each test works in a schema of its own."""

from sluice.infrastructure.postgres.database import Connection


async def drop(db: Connection) -> None:
    """The schema that is worked in, with all that is in it."""
    await db.execute("DO $$BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', current_schema); END$$")
