"""A dry run: a protocol in a folder of its own, served beside ours, and nothing else touched."""

import asyncio
import json
import time

import httpx2
import pytest

from sluice.domain.events import Done, Token
from tests.http.house import House, serving
from tests.http.protocols.toy.routes import routes
from tests.http.test_frame_writer import Gate
from tests.http.who import bearer, by_secret
from tests.waiting import until

WORDS = [Token(word, "answer") for word in ("무색 ", "페트병\u2028", "은", " a")]


def lines(body: str) -> list[tuple[str, dict[str, object]]]:
    found = []
    for frame in body.split("\n\n"):
        if not frame.startswith("id: "):
            continue
        frame_id, data = frame.split("\n")
        found.append((frame_id[4:], json.loads(data[6:])))
    return found


async def toy(house: House, job: str, **headers: str) -> list[tuple[str, dict[str, object]]]:
    answer = await house.client.get(f"/toy/{job}", headers=headers)
    assert answer.status_code == 200
    return lines(answer.content.decode())


async def test_its_readers_get_each_token_where_it_is_published_beside_ours(
    taken: list[bool],
) -> None:
    first = asyncio.Event()
    plays = [play for word in WORDS for play in (Gate(), word)]
    async with serving(first, *plays, Done("A2", ""), routers=[routes]) as house:
        job = (await house.ask())["job_id"]
        reading = [asyncio.create_task(toy(house, job)) for _ in range(3)]
        ours = asyncio.create_task(house.read(job))
        await until(lambda: sum(len(log._waiting) for log in house.log._logs.values()) == 4)
        first.set()
        told = [await each for each in reading]
        assert told[0] == told[1] == told[2]
        assert told[0] == [
            ("1-1.1", {"open": job}),
            *[(f"1-{n + 1}", {"say": word.content, "said": n}) for n, word in enumerate(WORDS, 1)],
            ("1-5.1", {"close": 4}),
            ("1-6", {"over": True}),
        ]
        assert [frame.data["content"] for frame in await ours if frame.event == "token"] == [
            word.content for word in WORDS
        ]
    assert taken == [True] * 4 * len(WORDS)


async def test_its_stream_names_its_job_and_begins_with_all_frames_of_the_first_event() -> None:
    async with serving(*WORDS, Done("A2", ""), routers=[routes]) as house:
        job = await house.asked()
        answer = await house.client.get(f"/toy/{job}")
        assert answer.headers["x-sluice-job"] == job
        for _ in range(2):
            assert lines(answer.text) == await toy(house, job, **{"Last-Event-ID": "1-0"})
        assert house.streams.resumes == 2  # who gives a cursor is counted


async def test_its_stream_is_kept_alive_and_ends_with_its_readers_identity() -> None:
    plays = [WORDS[0], asyncio.Event()]
    async with serving(*plays, routers=[routes], identity=by_secret(), ping=0.01) as house:
        # Its leeway is over in one to two seconds.
        house.client.headers.update(bearer(exp=int(time.time()) - 3))
        job = (await house.ask())["job_id"]
        pieces = list[bytes]()

        async def read() -> None:
            async with house.client.stream("GET", f"/toy/{job}") as answer:
                async for piece in answer.aiter_raw():
                    pieces.append(piece)

        with pytest.raises(httpx2.ReadError):
            await read()
        assert b": keepalive\n\n" in b"".join(pieces)
        assert house.streams.expired == 1


async def test_its_readers_resume_at_every_frame() -> None:
    async with serving(*WORDS, Done("A2", ""), routers=[routes]) as house:
        job = await house.asked()
        whole = await toy(house, job)
        assert [line for _, line in whole] == [
            {"open": job},
            {"say": "".join(word.content for word in WORDS), "said": 4},
            {"close": 4},
            {"over": True},
        ]
        for index, (frame_id, _) in enumerate(whole[:-1], 1):
            assert await toy(house, job, **{"Last-Event-ID": frame_id}) == whole[index:]


async def test_anothers_job_and_a_line_breaking_character_are_as_on_our_own_route() -> None:
    async with serving(*WORDS, Done("A2", ""), routers=[routes]) as house:
        job = await house.asked()
        assert (await house.client.get("/toy/nobodys")).status_code == 404
        assert "\u2028" not in (await house.client.get(f"/toy/{job}")).text


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_unfinished_body_is_cut_and_never_ended(version: str) -> None:
    """Its clients take a proper end for a whole answer."""
    held = asyncio.Event()
    async with serving(WORDS[0], held, Done("A2", ""), routers=[routes]) as house:
        job = (await house.ask())["job_id"]
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /toy/{job} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(5):
            await reader.readuntil(b'"said":1')
        house.log.hang_up()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        held.set()


async def test_a_reader_that_leaves_with_the_service_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(WORDS[0], asyncio.Event(), routers=[routes]) as house:
        job = (await house.ask())["job_id"]
        reader, writer = await house.raw(f"GET /toy/{job} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(5):
            await reader.readuntil(b'"said":1')
        for connection in house.state.connections:
            connection.transport.abort()
        house.log.hang_up()
        await until(lambda: not house.state.tasks)
        writer.close()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
