"""Chat completions, as OpenAI's own client for Python finds them."""

import asyncio
import json
from typing import Any

import openai
import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.chat import Turn
from sluice.domain.errors import UpstreamRateLimited, UpstreamTruncated
from sluice.domain.events import Done, Reset, StageCompleted, StageStarted, Token
from tests.frontends import beside
from tests.http.protocols.openai.clients import ANSWER, ASKED, DONE, WORDS, asking
from tests.http.who import bearer, by_secret
from tests.waiting import until

HELLO = {"role": "user", "content": "Why?"}


async def streamed(client: openai.AsyncOpenAI, **more: Any) -> tuple[str, list[Any]]:
    text, chunks = "", []
    async for chunk in await client.chat.completions.create(**ASKED | more, stream=True):
        chunks.append(chunk)
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return text, chunks


async def test_an_answer_comes_chunk_by_chunk_and_whole() -> None:
    async with asking() as (_, client):
        text, chunks = await streamed(client)
        assert text == ANSWER
        assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
        assert len(chunks) == len(WORDS) + 2
        assert all(chunk.usage is None for chunk in chunks)
        whole = await client.chat.completions.create(**ASKED)
        assert whole.choices[0].message.content == ANSWER
        assert whole.usage is not None
        assert whole.usage.total_tokens == 3
        assert {chunk.id for chunk in chunks} == {chunks[0].id} != {whole.id}


async def test_usage_is_a_chunk_of_its_own_when_it_is_asked_for() -> None:
    async with asking() as (_, client):
        _, chunks = await streamed(client, stream_options={"include_usage": True})
        assert chunks[-1].choices == []
        assert chunks[-1].usage.prompt_tokens == 1


async def test_a_whole_answer_without_tokens_is_streamed_at_its_end() -> None:
    async with asking(Done("A1", ANSWER)) as (_, client):
        assert (await streamed(client))[0] == ANSWER


async def test_the_first_chunk_leaves_before_the_job_runs_and_stages_are_comments() -> None:
    started = asyncio.Event()
    plays = [started, StageStarted("look up", 10, "x\u2028\n\ny"), StageCompleted("look up", 90)]
    async with asking(*plays, *WORDS, DONE) as (house, client):
        request = house.client.stream("POST", "/v1/chat/completions", json=ASKED | {"stream": True})
        async with request as answer:
            lines = answer.aiter_lines()
            assert '"role":"assistant"' in await anext(lines)
            started.set()
            rest = [line async for line in lines]
        assert ': {"stage":"look up","status":"completed","progress":90}' in rest
        assert rest[-2:] == ["data: [DONE]", ""]
        assert answer.headers["x-sluice-job"]
        assert (await streamed(client))[0] == ANSWER


async def test_what_is_given_is_the_input_and_no_chat_is_made() -> None:
    parts = [{"type": "text", "text": "W"}, {"type": "text", "text": "hy?"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": parts},
    ]
    async with asking() as (house, client):
        await client.chat.completions.create(model="sluice", messages=messages)  # type: ignore[arg-type]
        asked = house.pipeline.asked[0]
        assert asked.job.message == "Why?"
        assert asked.history == [
            Turn("system", "Be brief."), Turn("user", "One?"), Turn("assistant", "Two."),
        ]  # fmt: skip
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_what_is_unknown_or_changes_nothing_is_ignored() -> None:
    harmless = {
        "n": 1, "tools": [], "response_format": {"type": "text"}, "stop": None, "logprobs": False,
        "temperature": 0.1, "max_tokens": 5, "user": "u", "made_up": {"x": 1},
    }  # fmt: skip
    async with asking() as (_, client):
        await client.chat.completions.create(**ASKED, extra_body=harmless)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"stop": ["\n"]}, "stop"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"messages": []}, "messages"),
        ({"messages": [HELLO, {"role": "assistant", "content": "Be"}]}, "messages.1.role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}, HELLO]},
         "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages.0.content.0.type"),
        ({"stream": "yes"}, "stream"),
    ],
)  # fmt: skip
async def test_what_would_change_the_promise_is_refused_by_name(
    given: dict[str, Any], field: str
) -> None:
    async with asking() as (house, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(**{"extra_body": given, **ASKED})
        assert (refused.value.param, refused.value.type) == (field, "invalid_request_error")
        assert house.pipeline.asked == []


async def test_an_unfit_request_is_refused_in_the_protocols_form() -> None:
    identity = by_secret()
    async with asking(identity=identity, max_message_bytes=100) as (house, client):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(**ASKED)
        signed = client.with_options(default_headers=bearer())
        with pytest.raises(openai.NotFoundError) as unknown:
            await signed.chat.completions.create(**ASKED | {"model": "gpt-4o"})
        assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")
        long = [{"role": "user", "content": "x" * 101}]
        with pytest.raises(openai.APIStatusError) as large:
            await signed.chat.completions.create(model="sluice", messages=long)  # type: ignore[arg-type]
        assert (large.value.status_code, large.value.code) == (413, "too_large")
        before = [{"role": "user", "content": "x" * 6401}, HELLO]
        with pytest.raises(openai.APIStatusError) as large:
            await signed.chat.completions.create(model="sluice", messages=before)  # type: ignore[arg-type]
        assert large.value.status_code == 413
        answer = await house.client.post("/v1/chat/completions", content=b"{", headers=bearer())
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


async def test_bounds_hold_here_too() -> None:
    held = asyncio.Event()
    bounds = Bounds(running=1, queued=9, user_running=1, user_queued=0)
    async with asking(held, DONE, bounds=bounds) as (house, client):
        first = asyncio.create_task(client.chat.completions.create(**ASKED))
        await until(lambda: house.pipeline.asked)
        with pytest.raises(openai.RateLimitError) as many:
            await client.chat.completions.create(**ASKED)
        assert many.value.response.headers["retry-after"]
        assert many.value.type == "rate_limit_error"
        held.set()
        await first


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reader_that_is_one_too_many_has_no_job(stream: bool) -> None:
    async with asking(streams=0) as (house, client):
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**ASKED, stream=stream)
        assert house.log._logs == {}


async def test_whoever_waits_for_an_answer_reads_one_stream() -> None:
    async with asking(streams=1) as (house, client):
        await client.chat.completions.create(**ASKED)
        assert house.follow.open.total() == 0
        assert (await client.responses.create(model="sluice", input="Why?")).output_text == ANSWER
        assert house.follow.open.total() == 0


async def test_the_models_are_the_pipeline_and_what_may_be_named_behind_it() -> None:
    async with asking(models=frozenset({"a", "b/c:d"})) as (house, client):
        names = [model.id async for model in client.models.list()]
        assert names == ["sluice", "sluice:a", "sluice:b/c:d"]
        assert [(await client.models.retrieve(name)).id for name in names] == names
        await client.chat.completions.create(**ASKED | {"model": "sluice:b/c:d"})
        assert house.pipeline.asked[0].job.model == "b/c:d"
        for name in ("sluice:", "sluice:z", "other", "other:a"):
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve(name)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failed_job_is_an_error(stream: bool) -> None:
    async with asking(Token("par", "a"), UpstreamTruncated()) as (_, client):
        with pytest.raises(openai.APIError) as failed:
            await streamed(client) if stream else await client.chat.completions.create(**ASKED)
        assert failed.value.code == "upstream_truncated"


async def test_the_client_asks_again_after_a_failure_that_may_pass() -> None:
    async with asking(UpstreamRateLimited()) as (house, client):
        with pytest.raises(openai.InternalServerError):
            await client.with_options(max_retries=1).chat.completions.create(**ASKED)
        assert len(house.pipeline.asked) == 2


async def test_a_cancelled_job_is_an_error() -> None:
    async with asking(WORDS[0], asyncio.Event(), DONE) as (house, client):
        reading = asyncio.create_task(streamed(client))
        waiting = asyncio.create_task(client.chat.completions.create(**ASKED))
        await until(lambda: len(house.pipeline.asked) == 2)
        for job in await house.log.unfinished():
            await house.client.delete(f"/api/v1/jobs/{job.id}")
        for each in (reading, waiting):
            with pytest.raises(openai.APIError) as cancelled:
                await each
            assert cancelled.value.code == "cancelled"


async def test_a_rewritten_answer_is_an_error_behind_what_was_sent() -> None:
    gate, text = asyncio.Event(), list[str]()
    plays = [Token("wrong", "a"), Reset("revised"), gate, Token("right", "a"), asyncio.Event()]
    async with asking(*plays, Done("A2", "right")) as (_, client):

        async def reading() -> None:
            async for chunk in await client.chat.completions.create(**ASKED, stream=True):
                text.append(chunk.choices[0].delta.content)
                gate.set()

        with pytest.raises(openai.APIError) as revised:
            await reading()
        assert (text, revised.value.code) == (["", "wrong"], "revised")


@pytest.mark.parametrize("end", [Done("A2", "right"), UpstreamTruncated()])
async def test_a_body_is_cut_behind_an_error(end: Any) -> None:
    async with asking(Token("wrong", "a"), Reset("revised"), end) as (house, _):
        reader, writer = await house.raw(posted(stream=True))
        async with asyncio.timeout(5):
            assert b"[DONE]" not in await reader.readuntil(b'"code":')
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


def posted(**more: Any) -> bytes:
    body = json.dumps(ASKED | more)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_nobody_can_come_back_to_ends_with_its_client(stream: bool) -> None:
    async with asking(WORDS[0], asyncio.Event(), DONE) as (house, _):
        _, writer = await house.raw(posted(stream=stream))
        await until(lambda: house.pipeline.asked)
        assert len(await house.log.unfinished()) == 1
        writer.close()
        job = house.pipeline.asked[0].job.id
        await until(lambda: house.log._logs[job].ended)
        assert (await house.client.get(f"/api/v1/jobs/{job}")).json()["status"] == "cancelled"


async def test_no_answer_is_short_when_the_service_leaves() -> None:
    async with asking(*WORDS, asyncio.Event(), DONE) as (house, client):
        reading = asyncio.create_task(streamed(client))
        await until(lambda: house.log.awaited)
        house.log.hang_up()
        with pytest.raises(openai.APIConnectionError):
            await reading


async def test_another_users_job_is_not_found_and_nothing_silent_is_on_the_wire() -> None:
    async with asking(identity=by_secret()) as (house, _):
        messages = [{"role": "system", "content": "SECRET"}, HELLO]
        answer = await house.client.post(
            "/v1/chat/completions",
            json={"model": "sluice", "stream": True, "messages": messages},
            headers=bearer(),
        )
        assert "SECRET" not in answer.text
        assert "Why?" not in answer.text
        job = answer.headers["x-sluice-job"]
        other = await house.client.get(f"/api/v1/jobs/{job}", headers=bearer(sub="bob"))
        assert other.status_code == 404


async def chunks(client: openai.AsyncOpenAI, **more: Any) -> None:
    answer: Any = await client.chat.completions.create(**ASKED, **more)
    async for _ in answer:
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_a_job_that_asks_a_human_is_an_error_and_stopped_if_it_is_in_no_chat(
    stream: bool,
) -> None:
    async with asking(*beside.PAUSES) as (house, client):
        with pytest.raises(openai.APIError) as asked:
            await chunks(client, stream=stream)
        assert asked.value.code == "needs_input"
        (log,) = house.log._logs.values()
        await until(lambda: log.ended_at is not None)
        found = (await house.client.get(f"/api/v1/jobs/{log.job.id}")).json()
        assert found["status"] == "cancelled"


async def test_a_response_that_asks_a_human_is_in_progress_until_somebody_has_answered() -> None:
    async with asking(*beside.PAUSES) as (house, client):
        begun = await client.responses.create(model="sluice", input="Why?")
        assert (begun.status, begun.output_text) == ("in_progress", "Well. ")
        given = {"input_id": "i1", "value": True}
        answer = await house.client.post(f"/api/v1/chat/{begun.id}/input", json=given)
        assert answer.status_code == 202
        async for event in await client.responses.retrieve(begun.id, stream=True):
            last = event
        assert last.type == "response.completed"
        assert last.response.output_text == "Well. Sent."
