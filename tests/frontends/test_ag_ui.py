"""`@ag-ui/client` and `@tanstack/ai-client`, unmodified, against the real routes."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from ag_ui.core import Event
from hypothesis import given, settings
from pydantic import TypeAdapter

from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Recorded, Reset, StageCompleted, StageStarted, Token
from sluice.interfaces.protocols.ag_ui.encoder import AgUiEncoder
from tests.contract.test_encoders import ended, frames
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, cutting
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.test_frame_writer import one_by_one
from tests.strategies import LOG
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("packages")

ANSWER = "무색 페트병\u2028은 'data: x'\n\nevent: done\n 👩\u200d👧 투명"
DIGEST = sha256(ANSWER.encode()).hexdigest()
TOKENS = [Token(piece, "answer") for piece in ANSWER]
STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100)
SLOWLY = [STARTED, *one_by_one(TOKENS), COMPLETED, Done("A2", ANSWER)]
QUICKLY = [STARTED, *one_by_one(TOKENS[:4]), *TOKENS[4:], COMPLETED, Done("A2", ANSWER)]
EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


def answers_of(house: House) -> Any:
    """Those that the job has gone on with."""
    resumption = house.pipeline.asked[-1].resumption
    return resumption and resumption.answers


async def ag_ui(scenario: str, house: House | str, **given: Any) -> Any:
    url = house if isinstance(house, str) else house.url
    return await node("ag_ui.mjs", scenario, url=url, **given)


async def test_an_agent_chats_and_shows_steps() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await ag_ui("asks", house, questions=["Why?", "And then?"])
    assert told["resolved"] == [True, True]
    assert told["outcomes"] == [{"type": "success"}] * 2
    assert told["steps"] == ["+queued", "-queued", "+answer", "-answer"] * 2
    said = [one["content"] for one in told["messages"]]
    assert said == ["Why?", ANSWER, "And then?", ANSWER]
    assert [turn.content for turn in house.pipeline.asked[1].history] == ["Why?", ANSWER]


async def test_what_is_taken_back_is_gone_and_what_was_before_stays() -> None:
    before = [
        {"id": "q0", "role": "user", "content": "Hello?"},
        {"id": "a0", "role": "assistant", "content": "Hello."},
    ]
    plays = [STARTED, Token("wrong", "a"), Reset("new_attempt"), Token("right", "a")]
    async with serving(*plays, Done("A2", "right")) as house:
        told = await ag_ui("asks", house, questions=["Why?"], messages=before)
    assert told["resolved"] == [True]
    assert told["messages"][:3] == [
        *before,
        {"id": "asked Why?", "role": "user", "content": "Why?"},
    ]
    assert [one["content"] for one in told["messages"][3:]] == ["right"]


async def test_a_question_that_is_run_again_is_answered_again_and_not_doubled() -> None:
    async with serving(Token("yes", "a"), Done("A2", "yes")) as house:
        told = await ag_ui("asks_anew", house, question="Why?")
        first, second = house.pipeline.asked
        assert second.job.retry_of == first.job.id
    assert [one["content"] for one in told["messages"]] == ["Why?", "yes"]


async def test_an_earlier_message_is_not_written_anew() -> None:
    async with serving(Done("A2", "yes")) as house:
        told = await ag_ui("edits", house, questions=["Why?", "And then?"], edited="Why not?")
        assert len(house.pipeline.asked) == 2
    assert told["resolved"] is False
    (payload,) = told["payloads"]
    assert (payload["type"], payload["code"]) == ("RUN_ERROR", "conflict")
    assert told["failed"][0].startswith("HTTP 409")


async def test_a_failure_is_an_error_of_the_run() -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await ag_ui("asks", house, questions=["Why?"])
    error = {"code": "upstream_truncated", "message": UpstreamTruncated.public}
    assert told["errors"] == [error]
    assert told["outcomes"] == []


async def test_a_stopped_run_says_that_it_was_cancelled() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        asking = asyncio.create_task(ag_ui("asks", house, questions=["Why?"]))
        await until(lambda: house.log.awaited, within=20)
        (job,) = house.log._logs
        await house.client.delete(f"/api/v1/jobs/{job}")
        told = await asking
    assert (told["resolved"], told["outcomes"]) == ([True], [{"type": "cancelled"}])
    assert told["messages"][-1]["content"] == "yes"


async def test_tools_reasoning_and_data_are_messages_and_events_of_an_agent() -> None:
    async with serving(*beside.PLAYS) as house:
        told = await ag_ui("told_beside", house, question="Why?")
    assert told["outcomes"] == [{"type": "success"}]
    assert told["custom"] == [["sources", [{"url": "https://example.com/tea"}]]]
    _, thought, search, found, convert, failed, answer = told["messages"]
    assert (thought["role"], thought["content"]) == ("reasoning", "Let me see.")
    (call,) = search["toolCalls"]
    assert call["function"] == {"name": "search", "arguments": beside.ARGUMENTS}
    assert (found["role"], found["content"]) == ("tool", "Green tea: 9 euros.")
    assert found["toolCallId"] == call["id"]
    assert (convert["toolCalls"][0]["function"]["name"], failed["content"]) == (
        "convert", beside.FAILED,
    )  # fmt: skip
    assert (answer["role"], answer["content"]) == ("assistant", beside.ANSWER)


async def test_tools_of_a_text_that_is_revised_stay() -> None:
    plays = [*beside.TOLD, Token("wrong", "agent"), Reset("revised"), *beside.SAID]
    async with serving(*plays, Done("A2", beside.ANSWER)) as house:
        told = await ag_ui("told_beside", house, question="Why?")
    roles = [one["role"] for one in told["messages"]]
    assert sorted(roles) == sorted(
        ["user", "reasoning", "assistant", "tool", "assistant", "tool", "assistant"]
    )
    assert [one["content"] for one in told["messages"] if one["role"] == "tool"] == [
        "Green tea: 9 euros.", beside.FAILED,
    ]  # fmt: skip
    assert told["messages"][-1]["content"] == beside.ANSWER


async def test_an_agent_is_asked_and_goes_on_with_the_answer() -> None:
    async with serving(*beside.PAUSES) as house:
        told = await ag_ui("is_asked", house, question="Why?", payload=True)
        assert answers_of(house) == {"i1": True}
    assert [one["content"] for one in told["before"]] == ["Why?", "Well. "]
    (asked,) = told["asked"]
    assert (asked["message"], asked["reason"]) == ("May I send it?", "approval")
    assert told["resolved"] is True
    assert [one["type"] for one in told["outcomes"]] == ["interrupt", "success"]
    assert [one["content"] for one in told["messages"]] == ["Why?", "Well. ", "Sent."]


async def test_tanstack_is_asked_and_goes_on_with_the_answer() -> None:
    async with serving(*beside.PAUSES) as house:
        told = await ag_ui("tanstack_is_asked", house, question="Why?", payload=True)
        assert answers_of(house) == {"i1": True}
    assert (told["errors"], told["asked"]) == ([], "May I send it?")
    assert [one["text"] for one in told["messages"]] == ["Why?", "Well. ", "Sent."]


async def test_tanstack_shows_tools_and_reasoning_and_asks_nothing_by_itself() -> None:
    async with serving(*beside.PLAYS) as house:
        told = await ag_ui("tanstack_told_beside", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    assert (told["errors"], told["status"]) == ([], "ready")
    parts = [part for one in told["messages"][1:] for part in one["parts"]]
    assert "".join(part["content"] for part in parts if part["type"] == "text") == beside.ANSWER
    calls = [part["name"] for part in parts if part["type"] == "tool-call"]
    assert calls == ["search", "convert"]


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_an_agent_that_is_cut_is_told_of_no_whole_answer(by: Cut) -> None:
    """There is no way back in the protocol's own client, and a proper end is no error to it."""
    async with serving(*QUICKLY) as house, cutting(house.port, by, longest=700) as proxy:
        told = await ag_ui("is_cut", proxy.url, runs=CUTS * 5 // 4, question="Why?")
        assert proxy.cuts == CUTS
    whole = [one for one in told if one["outcomes"]]
    assert {(one["resolved"], one["sha256"]) for one in whole} == {(True, DIGEST)}
    assert len(whole) == len(told) - CUTS
    failed = {one["failed"] for one in told if not one["outcomes"]}
    assert failed == {1} or by == "end"


async def test_a_run_that_the_service_must_leave_is_an_error_to_an_agent() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        asking = asyncio.create_task(ag_ui("asks", house, questions=["Why?"]))
        await until(lambda: house.log.awaited, within=20)
        house.log.hang_up()
        told = await asking
    assert (told["resolved"], told["outcomes"], len(told["failed"])) == ([False], [], 1)


async def test_tanstack_chats() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await ag_ui("tanstack_asks", house, questions=["Why?", "And then?"])
    assert (told["errors"], told["status"]) == ([], "ready")
    assert [one["text"] for one in told["messages"]] == ["Why?", ANSWER, "And then?", ANSWER]


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_tanstack_ends_however_often_it_is_cut_with_the_whole_answer(by: Cut) -> None:
    async with (
        serving(*SLOWLY) as house,
        cutting(house.port, by, longest=400, shortest=300) as proxy,
    ):
        told = list[Any]()
        while proxy.cuts < CUTS:
            told += await ag_ui("tanstack_is_cut", proxy.url, runs=CUTS // 4, question="Why?")
        assert len(house.pipeline.asked) == len(told)
    assert {(one["sha256"], one["answers"], str(one["errors"])) for one in told} == {
        (DIGEST, 1, "[]")
    }


async def test_tanstack_loaded_again_shows_the_thread_and_goes_on_with_the_run() -> None:
    plays = [STARTED, *one_by_one(TOKENS * 5), COMPLETED, Done("A2", ANSWER * 5)]
    async with serving(*plays) as house:
        told = await ag_ui("tanstack_reloads", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    for page in told:
        assert page["errors"] == []
        assert [one["text"] for one in page["messages"]] == ["Why?", ANSWER * 5]


async def test_any_log_is_a_run_that_both_validators_take(tmp_path: Path) -> None:
    runs = list[str]()
    messages = '[{"id":"q","role":"user","content":"Why?"}]'

    @settings(max_examples=200)
    @given(LOG)
    def collect(log: list[Recorded]) -> None:
        for opens in (False, True):
            encoder = AgUiEncoder("job", "t", "r", messages, opens_with_messages=opens)
            told = frames(encoder, ended(log))[1]
            data = [frame.decode().split("\n")[1][6:] for frame in told]
            for one in data:
                EVENTS.validate_json(one)
            runs.append(f"[{','.join(data)}]")

    collect()
    file = tmp_path / "runs"
    file.write_text("\n".join(runs))
    assert await node("ag_ui.mjs", "validates", file=str(file)) == []
