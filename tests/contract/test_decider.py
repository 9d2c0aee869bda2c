"""One of all processes decides, and whoever it was before is not missed."""

import secrets
from collections.abc import AsyncIterator

import pytest

from sluice.domain.errors import Unavailable
from sluice.infrastructure.flags.postgres_decider import PostgresDecider
from sluice.infrastructure.postgres.database import PostgresDatabase
from tests.contract.postgres import drop


@pytest.fixture
async def deciders(postgres_url: str) -> AsyncIterator[list[PostgresDecider]]:
    """Of two processes that share a schema, and of one with another schema."""
    schema = f"test_{secrets.token_hex(8)}"
    found = list[PostgresDecider]()
    for name in (schema, schema, f"{schema}_other"):
        database = PostgresDatabase(postgres_url, schema=name)
        await database.open()
        await database.check()
        found.append(PostgresDecider(database))
    yield found
    for decider in found:
        await decider.release()
    for decider in found[1:]:
        await decider._database.run(drop)
    for decider in found:
        await decider._database.aclose()


async def test_one_of_a_schema_is_it_until_it_lets_go(deciders: list[PostgresDecider]) -> None:
    one, other, elsewhere = deciders
    assert await one.held()
    assert await one.held()
    assert not await other.held()
    assert await elsewhere.held()
    await one.release()
    assert await other.held()
    assert not await one.held()


async def test_it_is_another_when_its_connection_is_gone(deciders: list[PostgresDecider]) -> None:
    one, other, _ = deciders
    assert await one.held()
    session = one._session
    assert session is not None
    await other._database.run(
        lambda db: db.execute("SELECT pg_terminate_backend(%s, 3000)", [session.info.backend_pid])
    )
    assert await other.held()
    with pytest.raises(Unavailable):
        await one.held()
    assert not await one.held()
