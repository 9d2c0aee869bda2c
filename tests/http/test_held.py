"""What a connection holds while nothing is said on it: hundreds of them are open, and silent."""

import asyncio
import weakref
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sluice.domain.events import Done
from tests.http.house import serving
from tests.waiting import until

ASKED = b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


async def answered(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length))


async def test_an_answered_request_is_forgotten_though_its_connection_is_kept(
    cycles: list[weakref.ref[RequestResponseCycle]],
) -> None:
    async with asyncio.timeout(5), serving(Done("A2", "")) as house:
        reader, writer = await house.raw(ASKED.decode())
        for count in (1, 2, 4):
            for _ in range(len(cycles), count):
                await answered(reader)
            await until(lambda: not house.state.tasks)
            assert [cycle() for cycle in cycles] == [None] * count
            connection: Any = next(iter(house.state.connections))
            assert (connection.cycle, connection.scope, connection.headers) == (None, None, [])
            writer.write(ASKED * count)
        writer.close()


async def test_no_connection_has_the_names_of_its_attributes_for_itself() -> None:
    """Python shares those of thirty between all instances of a class."""
    async with asyncio.timeout(5), serving(Done("A2", "")) as house:
        reader, writer = await house.raw(ASKED.decode())
        await answered(reader)
        (connection,) = house.state.connections
        assert len(vars(connection)) <= 30
        writer.close()
