"""Both clients against the real application on a socket, and a proxy that cuts them off."""

import asyncio
import socket
from collections.abc import Sequence
from hashlib import sha256

import httpx2
import pytest

from sluice.client import (
    Cancelled,
    Done,
    Failed,
    JobCancelled,
    JobFailed,
    Received,
    Refused,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
    Unreachable,
)
from tests.client.cutting_proxy import Cut, cutting
from tests.client.programs import KINDS, Kind, program
from tests.cuts import CUT_IN_TIME, CUTS
from tests.http.house import ANSWER, TOLD, WORDS, serving
from tests.http.test_frame_writer import Gate
from tests.http.who import bearer, by_secret, token
from tests.waiting import until

PIECES = [
    Token(word, "answer") for word in ["무색 ", "페트병은\u2028", "data: x\n\n", "é👩‍👩‍👧 "] * 10
]
TEXT = "".join(piece.content for piece in PIECES)


def said(events: Sequence[Received]) -> str:
    pieces: list[str] = []
    for received in events:
        match received.event:
            case Token(content):
                pieces.append(content)
            case Reset():
                pieces.clear()
    return "".join(pieces)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_question_is_asked_and_followed_in_typed_events(kind: Kind) -> None:
    async with serving(*TOLD) as house, program(kind, house.url) as client:
        events = await client.ask()
        assert [type(received.event) for received in events[:2]] == [StageCompleted, StageStarted]
        assert said(events) == ANSWER
        last = events[-1]
        assert last.event == Done("A2", ANSWER)
        assert last.data["sha256"] == sha256(ANSWER.encode()).hexdigest()
        assert [event.job_id for event in events] == [last.job_id] * len(events)
        assert (await client.follow(last.job_id))[-1] == last
        assert await client.answer(last.job_id) == last.event
        assert len(house.pipeline.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_is_submitted_with_all_that_a_question_may_have(kind: Kind) -> None:
    async with serving(*TOLD, models=None) as house, program(kind, house.url + "/") as client:
        job = await client.submit("One", session_id="s", model="m", metadata={"a": [1, None]})
        assert (await client.answer(job)).answer == ANSWER
        asked = house.pipeline.asked[0].job
        assert (asked.message, asked.model, asked.metadata) == ("One", "m", {"a": [1, None]})
        key = {"chat_id": job.chat_id, "idempotency_key": "k"}
        second = await client.submit("Two", **key)
        assert second == await client.submit("Two", **key)
        assert second.chat_id == job.chat_id
        third = await client.submit(None, chat_id=job.chat_id, retry_of=job.job_id)
        assert third.job_id not in (job.job_id, second.job_id)
        assert said(await client.ask("Three", chat_id=job.chat_id)) == ANSWER


@pytest.mark.parametrize("kind", KINDS)
async def test_reading_goes_on_behind_any_event(kind: Kind) -> None:
    async with serving(*TOLD) as house, program(kind, house.url) as client:
        job = await client.submit()
        whole = await client.follow(job)
        assert said(await client.follow(job, after="1-4")) == "".join(w.content for w in WORDS[2:])
        assert await client.follow(job, after=whole[-1].id) == []
        told = await client.follow(job, after="9-9")
        assert told[0].event == Reset("cursor_unknown")
        assert said(told) == ANSWER


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_is_cancelled_and_says_so(kind: Kind) -> None:
    async with serving(WORDS[0], asyncio.Event()) as house, program(kind, house.url) as client:
        job = await client.submit()
        reading = asyncio.create_task(client.follow(job))
        await until(lambda: house.streams.open)
        for _ in range(2):
            await client.cancel(job)
        assert (await reading)[-1].event == Cancelled("user")
        with pytest.raises(JobCancelled, match="user") as refused:
            await client.answer(job)
        assert refused.value.cancelled == Cancelled("user")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failed_job_is_an_error_of_its_own(kind: Kind) -> None:
    async with serving(ValueError("secret")) as house, program(kind, house.url) as client:
        job = await client.submit()
        with pytest.raises(JobFailed) as failed:
            await client.answer(job)
        assert isinstance(failed.value.failed, Failed)
        assert failed.value.failed.code == "internal"
        assert "secret" not in str(failed.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_refused_for_good_is_told_with_its_code(kind: Kind) -> None:
    async with serving(*TOLD) as house, program(kind, house.url) as client:
        for asked in (client.follow("nobody"), client.ask(" "), client.cancel("../../x")):
            with pytest.raises(Refused) as refused:
                await asked
            assert refused.value.code in ("not_found", "invalid_field")
            assert refused.value.request_id
        with pytest.raises(Refused, match="message: "):
            await client.submit("")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_says_who_asks(kind: Kind) -> None:
    async with serving(*TOLD, identity=by_secret()) as house:
        async with program(kind, house.url, token=token()) as ann:
            job = await ann.submit()
            assert (await ann.answer(job)).answer == ANSWER
        for given in ({}, {"headers": bearer(sub="bob")}):
            async with program(kind, house.url, **given) as other:
                with pytest.raises(Refused) as refused:
                    await other.follow(job)
                assert refused.value.status == (404 if given else 401)


@pytest.mark.parametrize("kind", KINDS)
async def test_where_nobody_listens_nothing_is_waited_for(kind: Kind) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with program(kind, url) as client:
            for asked in (client.submit(), client.ask(), client.follow("j"), client.cancel("j")):
                with pytest.raises(Unreachable):
                    await asked
    async with program(kind, "localhost:8000") as client:
        with pytest.raises(Unreachable):
            await client.ask()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_has_too_much_open_waits_for_room(kind: Kind) -> None:
    gate = asyncio.Event()
    async with serving(gate, *TOLD, streams=1) as house, program(kind, house.url) as client:
        job = await client.submit()
        first = asyncio.create_task(client.follow(job))
        await until(lambda: house.streams.open)
        second = asyncio.create_task(client.follow(job))
        refused = await house.client.get(job.stream_url)
        assert refused.status_code == 429
        gate.set()
        assert await first
        assert said(await second) == ANSWER


@CUT_IN_TIME
@pytest.mark.parametrize("how", ["reset", "fin", "clean"])
async def test_however_often_it_is_cut_every_answer_comes_whole_and_once(how: Cut) -> None:
    plays = [play for piece in PIECES for play in (Gate(), piece)]
    async with (
        serving(*plays, Done("A2", TEXT)) as house,
        cutting(house.port, how, CUTS, within=2400) as proxy,
        program("blocking", proxy.url) as blocking,
        program("asyncio", proxy.url) as on_asyncio,
    ):
        asked = 0
        while proxy.left > 0:
            programs = [blocking, on_asyncio] * 2
            answers = await asyncio.gather(*(client.ask() for client in programs))
            asked += len(programs)
            for events in answers:
                ids = [tuple(map(int, received.id.split("-"))) for received in events]
                assert ids == sorted(set(ids))
                assert said(events) == TEXT
                assert events[-1].data["sha256"] == sha256(TEXT.encode()).hexdigest()
        assert len(house.pipeline.asked) == asked


@pytest.mark.parametrize("kind", KINDS)
async def test_a_question_whose_reply_is_lost_is_asked_again_and_not_twice(kind: Kind) -> None:
    async with (
        serving(*TOLD) as house,
        cutting(house.port, "reset", 20, within=600) as proxy,
        program(kind, proxy.url) as client,
    ):
        job = await client.submit()
        assert proxy.left < 20
        assert (await client.answer(job)).answer == ANSWER
        assert len(house.pipeline.asked) == 1


async def test_who_leaves_a_stream_closes_it() -> None:
    async with serving(WORDS[0], asyncio.Event()) as house, program("asyncio", house.url) as client:
        async with asyncio.timeout(5):
            events = client._client.ask("Why?")
            async for received in events:  # type: ignore[union-attr]
                if isinstance(received.event, Token):
                    break
            await events.aclose()  # type: ignore[union-attr]
            await until(lambda: not house.streams.open)


def test_the_transport_can_be_ones_own_and_is_then_left_open() -> None:
    from sluice.client import Client

    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["x-user-id"] == "ann"
        body = {"job_id": "j", "chat_id": "c", "path": "A2", "stream_url": "/s"}
        return httpx2.Response(202, json=body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        with Client("https://sluice.example/prefix", headers={"X-User-ID": "ann"}, http=http) as it:
            assert it.submit("Why?").job_id == "j"
        assert not http.is_closed
