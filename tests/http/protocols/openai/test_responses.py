"""Responses, as OpenAI's own client for Python finds them."""

import asyncio
from typing import Any

import openai
import pytest

from sluice.domain.chat import Turn
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reset, Token
from tests.http.protocols.openai.clients import ANSWER, DONE, WORDS, asking
from tests.http.who import bearer, by_secret
from tests.waiting import until

ASKED: dict[str, Any] = {"model": "sluice", "input": "Why?"}


async def told(client: openai.AsyncOpenAI, **more: Any) -> list[Any]:
    return [event async for event in await client.responses.create(**ASKED | more, stream=True)]


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_a_response_is_streamed_and_can_be_read_again_from_every_event() -> None:
    async with asking() as (_, client):
        events = await told(client)
        assert text_of(events) == ANSWER
        whole = events[-1].response
        assert (whole.output_text, whole.status) == (ANSWER, "completed")
        assert whole.usage.total_tokens == 3
        assert (await client.responses.retrieve(whole.id)).output_text == ANSWER
        for seen in events[:-1]:
            number = seen.sequence_number
            again = await client.responses.retrieve(whole.id, stream=True, starting_after=number)
            rest = [event async for event in again]
            assert text_of(rest) == text_of([e for e in events if e.sequence_number > number])
            assert rest[0].sequence_number > number
            assert rest[-1] == events[-1]
        last = events[-1].sequence_number
        over = await client.responses.retrieve(whole.id, stream=True, starting_after=last)
        assert [event async for event in over] == []
        with pytest.raises(openai.BadRequestError) as beyond:
            await client.responses.retrieve(whole.id, stream=True, starting_after=last + 1)
        assert beyond.value.param == "starting_after"


async def test_a_response_is_waited_for() -> None:
    async with asking() as (house, client):
        parts = [{"type": "input_text", "text": "Two?"}]
        given: Any = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"},
                 {"type": "message", "role": "user", "content": parts}]  # fmt: skip
        answer = await client.responses.create(
            model="sluice",
            input=given,
            instructions="Be brief.",
            metadata={"a": "b"},
        )
        assert (answer.output_text, answer.metadata) == (ANSWER, {"a": "b"})
        asked = house.pipeline.asked[0]
        assert (asked.job.message, asked.job.metadata) == ("Two?", {"a": "b"})
        assert [turn.content for turn in asked.history] == ["Be brief.", "One?", "1"]
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_a_response_in_the_background_is_there_at_once_and_can_be_cancelled() -> None:
    async with asking(WORDS[0], asyncio.Event(), DONE) as (house, client):
        begun = await client.responses.create(**ASKED, background=True)
        assert begun.status in {"queued", "in_progress"}
        await until(lambda: house.log._logs[begun.id].records[-1].event == WORDS[0])
        running = await client.responses.retrieve(begun.id)
        assert (running.status, running.output_text) == ("in_progress", WORDS[0].content)
        reading = asyncio.create_task(
            collected(await client.responses.retrieve(begun.id, stream=True))
        )
        cancelled = await client.responses.cancel(begun.id)
        assert (cancelled.status, cancelled.output_text) == ("cancelled", WORDS[0].content)
        end = (await reading)[-1]
        assert (end.type, end.response.status) == ("response.incomplete", "cancelled")
        assert (await client.responses.cancel(begun.id)).status == "cancelled"


async def collected(stream: Any) -> list[Any]:
    return [event async for event in stream]


async def test_a_failed_response_says_why() -> None:
    async with asking(WORDS[0], UpstreamTruncated()) as (_, client):
        end = (await told(client))[-1]
        assert (end.type, end.response.status) == ("response.failed", "failed")
        assert end.response.error.code == "upstream_truncated"
        waited = await client.responses.create(**ASKED)
        assert (waited.status, waited.output_text) == ("failed", WORDS[0].content)


@pytest.mark.parametrize("plays", [[Token("so", "a")], []], ids=["A2", "A1"])
@pytest.mark.parametrize(
    ("finish_reason", "why"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
async def test_an_answer_that_was_cut_short_is_an_incomplete_response(
    plays: list[Any], finish_reason: str, why: str
) -> None:
    async with asking(*plays, Done("A2", "so", finish_reason=finish_reason)) as (_, client):
        end = (await told(client))[-1]
        waited: Any = await client.responses.create(**ASKED)
        again: Any = await client.responses.retrieve(waited.id)
        for response in (end.response, waited, again):
            assert (response.status, response.output_text) == ("incomplete", "so")
            assert response.incomplete_details.reason == why
            assert [item.status for item in response.output] == ["incomplete"]
        assert end.type == "response.incomplete"


async def test_what_is_taken_back_is_an_incomplete_message_and_not_in_the_response() -> None:
    plays = [Token("wrong", "a"), Reset("revised"), Token("right", "a"), Done("A2", "right")]
    async with asking(*plays) as (_, client):
        async with client.responses.stream(**ASKED) as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        assert final.output_text == "right"
        done: Any = [event for event in events if event.type == "response.output_item.done"]
        assert [event.item.status for event in done] == ["incomplete", "completed"]
        assert [event.output_index for event in done] == [0, 1]
        assert (await client.responses.retrieve(final.id)).output_text == "right"


async def test_a_whole_answer_without_tokens_is_one_delta() -> None:
    async with asking(Done("A1", ANSWER)) as (_, client):
        deltas = [e.delta for e in await told(client) if e.type == "response.output_text.delta"]
        assert deltas == [ANSWER]


async def test_a_conversation_is_a_chat() -> None:
    async with asking() as (house, client):
        named: list[Any] = ["conv_1", {"id": "conv_1"}]
        for conversation in named:
            await client.responses.create(**ASKED, conversation=conversation)
        first, second = house.pipeline.asked
        assert first.job.chat_id == second.job.chat_id
        assert second.history == [Turn("user", "Why?"), Turn("assistant", ANSWER)]


async def test_a_response_says_which_conversation_it_belongs_to() -> None:
    async with asking() as (house, client):
        events = await told(client, conversation="conv_1")
        final = events[-1].response
        again = await client.responses.retrieve(final.id)
        replayed = [e async for e in await client.responses.retrieve(final.id, stream=True)]
        waited = await client.responses.create(**ASKED, conversation="conv_1")
        for response in (events[0].response, events[1].response, final, again, waited):
            assert response.conversation is not None
            assert response.conversation.id == "conv_1"
        assert (replayed[0], replayed[-1]) == (events[0], events[-1])
        alone = (await told(client))[-1].response
        assert alone.conversation is None
        native = await client.responses.retrieve(await house.asked())
        assert native.conversation is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"store": False}, "store"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
         "input.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
         "input.0.content.0.type"),
        ({"input": ""}, "input.0.content"),
        ({"conversation": "c", "instructions": "Be brief."}, "instructions"),
        ({"conversation": "c" * 129}, "conversation.id"),
    ],
)  # fmt: skip
async def test_what_would_change_the_promise_is_refused_by_name(
    given: dict[str, Any], field: str
) -> None:
    async with asking() as (house, client):
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**ASKED, extra_body=given)
        assert refused.value.param == field
        assert house.pipeline.asked == []


async def test_another_users_response_is_like_one_that_never_was() -> None:
    async with asking(identity=by_secret()) as (_, client):
        ann = client.with_options(default_headers=bearer())
        bob = client.with_options(default_headers=bearer(sub="bob"))
        response = await ann.responses.create(**ASKED)
        for name in (response.id, "nobodys", "not an id"):
            for ask in (bob.responses.retrieve, bob.responses.cancel):
                with pytest.raises(openai.NotFoundError) as unknown:
                    await ask(name)
                assert unknown.value.code == "not_found"
            with pytest.raises(openai.NotFoundError):
                await bob.responses.retrieve(name, stream=True, starting_after=1)


async def test_neither_the_question_nor_a_silent_instruction_is_on_the_wire() -> None:
    async with asking() as (house, _):
        given = ASKED | {"instructions": "SECRET", "stream": True}
        streamed = await house.client.post("/v1/responses", json=given)
        shown = await house.client.get(f"/v1/responses/{streamed.headers['x-sluice-job']}")
        for answer in (streamed, shown):
            assert answer.status_code == 200
            assert "SECRET" not in answer.text
            assert "Why?" not in answer.text
