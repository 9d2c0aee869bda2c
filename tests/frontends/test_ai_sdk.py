"""`ai` and `@ai-sdk/react`, unmodified, against the real routes."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from sluice.application.compact_json import compact
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import (
    Done,
    NeedsInput,
    Recorded,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
    Tool,
)
from sluice.interfaces.protocols.ai_sdk.encoder import AiSdkEncoder
from tests.contract.test_encoders import ended, frames
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, cutting
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.protocols.openai.test_openai_encoders import answer_of
from tests.http.test_frame_writer import one_by_one
from tests.strategies import LOG
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("packages")

ANSWER = "무색 페트병\u2028은 'data: x'\n\nevent: done\r\n 👩\u200d👧 투명"
TOKENS = [Token(piece, "answer") for piece in ANSWER]
STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100, "made")
STAGES = [
    {"stage": "queued", "status": "completed", "progress": 0},
    {"stage": "answer", "status": "completed", "progress": 100, "message": "made"},
]


async def ai(scenario: str, house: House | str, **given: Any) -> Any:
    url = house if isinstance(house, str) else house.url
    return await node("ai_sdk.mjs", scenario, url=url, **given)


async def test_it_chats_and_shows_each_stage_once() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER, finish_reason="stop")) as it:
        told = await ai("asks", it, questions=["Why?", "And then?"])
    assert (told["status"], told["errors"]) == ("ready", [])
    question, answer, *_ = told["messages"]
    assert [one["text"] for one in told["messages"]] == ["Why?", ANSWER, "And then?", ANSWER]
    assert question["role"] == "user"
    assert answer["id"].startswith("msg_")
    assert answer["stages"] == STAGES
    assert answer["metadata"]["status"] == "completed"
    assert [turn.content for turn in it.pipeline.asked[1].history] == ["Why?", ANSWER]


async def test_a_whole_answer_without_tokens_is_shown() -> None:
    async with serving(Done("A1", ANSWER)) as house:
        told = await ai("asks", house, questions=["Why?"])
    assert told["messages"][1]["text"] == ANSWER


@pytest.mark.parametrize("reason", ["revised", "new_attempt"])
async def test_what_is_taken_back_is_gone_and_its_stages_with_it_after_a_new_attempt(
    reason: Any,
) -> None:
    plays = [STARTED, Token("wrong", "a"), Reset(reason), Token("right", "a"), COMPLETED]
    async with serving(*plays, Done("A2", "right")) as house:
        told = await ai("asks", house, questions=["Why?"])
    answer = told["messages"][1]
    assert (answer["text"], answer["texts"]) == ("right", 1)
    assert answer["stages"] == (STAGES if reason == "revised" else STAGES[1:])


OLDER = pytest.mark.parametrize("version", [5, 6])


@OLDER
async def test_versions_without_reset_step_are_told_to_drop_the_text(version: int) -> None:
    plays = [Token("wrong", "a"), Reset("revised"), Token("right", "a")]
    async with serving(*plays, Done("A2", "right", finish_reason="stop")) as house:
        told = await ai("asks", house, questions=["Why?"], compat=version)
    assert (told["status"], told["errors"]) == ("ready", [])
    answer = told["messages"][1]
    assert (answer["text"], answer["resets"]) == ("wrongright", [{"reason": "revised"}])
    assert answer["metadata"]["status"] == "completed"


@OLDER
async def test_older_versions_chat_stop_and_are_told_errors(version: int) -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await ai("asks", house, questions=["Why?", "And then?"], compat=version)
    assert [one["text"] for one in told["messages"]] == ["Why?", ANSWER, "And then?", ANSWER]
    assert told["messages"][1]["stages"] == STAGES
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await ai("asks", house, questions=["Why?"], compat=version)
    assert (told["status"], told["errors"]) == ("error", [UpstreamTruncated.public])
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        told = await ai("stops", house, question="Why?", compat=version)
        assert house.pipeline.closed == 1
    assert told["other"]["messages"][-1]["metadata"]["status"] == "cancelled"


@OLDER
async def test_older_versions_that_are_cut_end_with_the_whole_answer(version: int) -> None:
    plays = [STARTED, *one_by_one(TOKENS[:8]), *TOKENS[8:], COMPLETED, Done("A2", ANSWER)]
    async with serving(*plays) as house, cutting(house.port, "reset", longest=700) as proxy:
        told = await ai("is_cut", proxy.url, chats=5, question="Why?", compat=version)
        assert proxy.cuts == 20
    digest = sha256(ANSWER.encode()).hexdigest()
    assert {(one["sha256"], one["bubbles"]) for one in told} == {(digest, 1)}


async def test_an_answer_made_anew_is_a_retry_of_the_same_question() -> None:
    async with serving(Token("yes", "a"), Done("A2", "yes")) as house:
        told = await ai("regenerates", house, question="Why?")
        (chat,) = (await house.client.get("/api/v1/chat")).json()["items"]
        kept = (await house.client.get(f"/api/v1/chat/{chat['id']}")).json()["items"]
    assert [one["text"] for one in told["messages"]] == ["Why?", "yes"]
    assert told["first"][1]["id"] != told["messages"][1]["id"]
    assert [one["content"] for one in kept] == ["Why?", "yes", "yes"]


@pytest.mark.parametrize("scenario", ["edits", "regenerates_an_older_answer"])
async def test_what_was_answered_and_followed_is_not_written_anew(scenario: str) -> None:
    given = {"edited": "Why not?"} if scenario == "edits" else {}
    async with serving(Done("A2", "yes")) as house:
        told = await ai(scenario, house, questions=["Why?", "And then?"], **given)
        assert len(house.pipeline.asked) == 2
    assert (told["status"], told["statusCode"]) == ("error", 409)


async def test_a_failure_is_an_error_once_and_what_was_said_stays() -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await ai("asks", house, questions=["Why?"])
    assert (told["status"], told["errors"]) == ("error", [UpstreamTruncated.public])
    answer = told["messages"][1]
    assert answer["text"] == "yes"
    assert answer["metadata"]["error"]["code"] == "upstream_truncated"


async def test_a_stream_that_the_service_must_leave_is_an_error_and_no_whole_answer() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        asking = asyncio.create_task(ai("asks", house, questions=["Why?"]))
        await until(lambda: house.log.awaited, within=20)
        house.log.hang_up()
        told = await asking
    assert (told["status"], len(told["errors"])) == ("error", 1)


async def test_a_refusal_is_an_error() -> None:
    async with serving(Done("A2", "yes"), max_message_bytes=2) as house:
        told = await ai("asks", house, questions=["Why?"])
    assert (told["status"], told["errors"]) == ("error", ["The message is too large."])
    assert told["statusCode"] == 413


async def test_stopping_stops_the_job_and_another_tab_is_told() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        told = await ai("stops", house, question="Why?")
        assert house.pipeline.closed == 1
    assert told["answered"] == 202
    for tab in (told["one"], told["other"]):
        assert (tab["status"], tab["errors"]) == ("ready", [])
        assert tab["messages"][-1]["text"] == "yes"
    assert told["other"]["messages"][-1]["metadata"]["status"] == "cancelled"


async def test_two_tabs_show_one_answer() -> None:
    async with serving(STARTED, *one_by_one(TOKENS * 5), COMPLETED, Done("A2", ANSWER * 5)) as it:
        one, two = await ai("two_tabs", it, question="Why?")
        assert len(it.pipeline.asked) == 1
    assert one["messages"][-1] == two["messages"][-1]
    assert one["messages"][-1]["text"] == ANSWER * 5


async def test_a_page_that_is_loaded_again_shows_the_whole_answer() -> None:
    async with serving(STARTED, *one_by_one(TOKENS * 5), COMPLETED, Done("A2", ANSWER * 5)) as it:
        told = await ai("page", it, question="Why?")
        assert len(it.pipeline.asked) == 1
    assert told == {"text": ANSWER * 5, "bubbles": 1}


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_however_often_it_is_cut_it_ends_with_the_whole_answer(by: Cut) -> None:
    """By a proper end it cannot know; a page asks for the stream until it has been told the end."""
    plays = [STARTED, *one_by_one(TOKENS[:8]), *TOKENS[8:], COMPLETED, Done("A2", ANSWER)]
    async with serving(*plays) as house, cutting(house.port, by, longest=700) as proxy:
        told = await ai("is_cut", proxy.url, chats=CUTS // 4, question="Why?")
        assert proxy.cuts == CUTS
        assert len(house.pipeline.asked) == len(told) == CUTS // 4
    digest = sha256(ANSWER.encode()).hexdigest()
    assert {(one["sha256"], one["bubbles"]) for one in told} == {(digest, 1)}
    assert sum(one["errors"] for one in told) == (CUTS if by == "reset" else 0)


@pytest.mark.parametrize("version", [5, 6, 7])
async def test_tools_reasoning_and_data_are_parts_of_the_message(version: int) -> None:
    older = {} if version == 7 else {"compat": version}
    async with serving(*beside.PLAYS) as house:
        told = await ai("asks", house, questions=["Why?"], **older)
        assert len(house.pipeline.asked) == 1
    assert (told["status"], told["errors"]) == ("ready", [])
    answer = told["messages"][1]
    assert (answer["text"], answer["texts"]) == (beside.ANSWER, 1)
    thought, search, sources, convert = answer["beside"]
    assert (thought["text"], thought["state"]) == ("Let me see.", "done")
    assert (search["toolName"], search["state"]) == ("search", "output-available")
    assert (search["input"], search["output"]) == ({"query": "tea"}, "Green tea: 9 euros.")
    assert sources["data"] == [{"url": "https://example.com/tea"}]
    assert (convert["toolName"], convert["state"]) == ("convert", "output-error")
    assert convert["errorText"] == beside.FAILED


@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval_is_asked_for_and_the_answer_goes_on(approved: bool) -> None:
    async with serving(*beside.PAUSES) as house:
        told = await ai("is_asked", house, question="Why?", approved=approved)
        first, second = house.pipeline.asked
        assert second.resumption is not None
        assert (first.job.id, second.resumption.answers) == (second.job.id, {"i1": approved})
    assert (told["asked"], told["errors"], told["status"]) == ("May I send it?", [], "ready")
    assert told["before"][-1]["text"] == "Well. "
    assert told["before"][-1]["metadata"]["status"] == "waiting"
    assert [one["text"] for one in told["messages"]] == ["Why?", "Well. Sent."]


async def test_an_approval_is_answered_beside_a_tool_that_waits_for_it() -> None:
    calls = [Tool("call_7", "send", "agent", status) for status in ("started", "arguments")]
    async with serving(*calls, *beside.PAUSES) as house:
        told = await ai("is_asked", house, question="Why?", approved=True)
    assert (told["errors"], told["messages"][-1]["text"]) == ([], "Well. Sent.")


@pytest.mark.parametrize("reason", ["revised", "new_attempt"])
async def test_what_was_told_beside_a_text_that_is_revised_stays(reason: Any) -> None:
    plays = [*beside.TOLD, Token("wrong", "agent"), Reset(reason), *beside.SAID]
    async with serving(*plays, Done("A2", beside.ANSWER)) as house:
        told = await ai("asks", house, questions=["Why?"])
    answer = told["messages"][1]
    assert answer["text"] == beside.ANSWER
    kinds = [part["type"] for part in answer["beside"]]
    assert sorted(kinds) == (
        ["data-sources", "dynamic-tool", "dynamic-tool", "reasoning"] if reason == "revised" else []
    )


def without_resets_behind_a_question(log: list[Recorded]) -> list[Recorded]:
    """The SDK takes back a step, and a question to a human ends one: see docs/frontends.md."""
    asked = next((at for at, one in enumerate(log) if isinstance(one.event, NeedsInput)), len(log))
    behind = [one for one in log[asked:] if not isinstance(one.event, Reset)]
    return [*log[:asked], *behind]


async def test_any_log_is_a_stream_that_its_own_schema_and_reader_take(tmp_path: Path) -> None:
    streams = list[str]()

    @settings(max_examples=200)
    @given(LOG)
    def collect(log: list[Recorded]) -> None:
        log = without_resets_behind_a_question(log)
        for version in (5, 6, 7):
            encoder = AiSdkEncoder("job", resets_step=version == 7)
            told = frames(encoder, ended(log))[1]
            data = [frame.decode().split("\n")[1][6:] for frame in told]
            chunks = ",".join(one for one in data if one != "[DONE]")
            said = compact(answer_of(log) or "answer")
            streams.append(f'{{"version":{version},"said":{said},"chunks":[{chunks}]}}')

    collect()
    file = tmp_path / "streams"
    file.write_text("\n".join(streams))
    assert await node("ai_sdk.mjs", "validates", file=str(file)) == []
