"""OpenAI's clients for JavaScript and Python, unmodified, against the real routes."""

import asyncio
import json
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import openai
import pytest

from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reset, StageCompleted, StageStarted, Token, Usage
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, CuttingProxy, cutting
from tests.frontends.packages import HERE, node
from tests.http.house import House, serving
from tests.http.protocols.openai.clients import ASKED, client_of
from tests.http.test_frame_writer import Gate

EXAMPLES = HERE.parents[1] / "examples" / "frontends" / "openai"
TOKENS = [
    Token(piece, "answer")
    for piece in ("무색 ", "페트\u2028병", "은 ", "data: x\n\n", "👩\u200d👧")
]
ANSWER = "".join(token.content for token in TOKENS)
SHA256 = sha256(ANSWER.encode()).hexdigest()
STAGE = [StageStarted("answer", 10), StageCompleted("answer", 100)]
DONE = Done("A2", ANSWER, finish_reason="stop", usage=Usage(1, 2, 3))
PLAYS = [STAGE[0], *TOKENS[:2], Gate(), *TOKENS[2:4], Gate(), TOKENS[4], STAGE[1], DONE]
BY = pytest.mark.parametrize("by", ["reset", "end"])
CUT = (openai.APIConnectionError, UnicodeDecodeError, json.JSONDecodeError)
"""The last two, where a proxy has ended a body properly inside of a character or a frame."""
NODE = pytest.mark.usefixtures("packages")


async def js(scenario: str, at: House | CuttingProxy, **given: Any) -> Any:
    return await node("openai.mjs", scenario, url=at.url, **given)


@NODE
async def test_the_javascript_client_chats_and_is_told_what_is_refused() -> None:
    async with serving(*PLAYS) as house:
        told = await js("chats", house)
    assert told["models"] == ["sluice"]
    assert told["whole"] == told["helped"]["text"] == told["streamed"]["text"] == ANSWER
    assert told["streamed"]["finish"] == "stop"
    assert told["streamed"]["usage"]["total_tokens"] == 3
    assert (told["refused"]["error"], told["refused"]["param"]) == ("BadRequestError", "n")
    assert (told["unknown"]["error"], told["unknown"]["param"]) == ("NotFoundError", "model")


@NODE
async def test_the_javascript_client_reads_reasoning_beside_the_answer() -> None:
    async with serving(*beside.PLAYS) as house:
        told = await js("beside", house)
    assert (told["thought"], told["said"]) == ("Let me see.", beside.ANSWER)
    assert told["helped"] == {"text": beside.ANSWER}
    thought, message = told["output"]
    assert (thought["type"], thought["content"][0]["text"]) == ("reasoning", "Let me see.")
    assert message["content"][0]["text"] == told["output_text"] == beside.ANSWER


@NODE
async def test_the_javascript_client_is_told_of_failures() -> None:
    async with serving(*TOKENS, UpstreamTruncated()) as house:
        told = await js("fails", house)
        assert (told["error"], told["code"]) == ("APIError", "upstream_truncated")
    async with serving(Token("wrong", "a"), Reset("revised"), Token("right", "a"), DONE) as house:
        told = await js("fails", house)
        assert (told["text"], told["code"], told["finish"]) == ("wrong", "revised", None)


@NODE
async def test_the_javascript_client_reads_responses_without_what_was_taken_back() -> None:
    plays = [Token("wrong", "a"), Reset("new_attempt"), Gate(), Token("right", "a")]
    async with serving(*plays, Done("A2", "right")) as house:
        told = await js("responses", house)
    assert (told["final"], told["again"], told["items"]) == ("right", "right", 1)
    assert told["status"] == "completed"
    assert told["cancelled"] in {"cancelled", "completed"}


def assert_no_short_answer(told: dict[str, Any]) -> None:
    """Where a proxy has ended a body, only the finish reason that never came tells of it."""
    whole = told["text"] == ANSWER
    assert whole or "error" in told or told["finish"] is None
    assert not (told["finish"] and "error" not in told) or whole


@NODE
@CUT_IN_TIME
@BY
async def test_a_cut_completion_is_never_a_short_answer_in_javascript(by: Cut) -> None:
    async with serving(*PLAYS) as house, cutting(house.port, by, 1500) as proxy:
        while proxy.cuts < CUTS:
            for told in await js("cut_chats", proxy, times=25):
                assert_no_short_answer(told)
                assert by == "end" or "error" in told or told["finish"]
        helped = await js("cut_helped", proxy, times=20)
        assert all("error" in told or told["text"] == ANSWER for told in helped)


@CUT_IN_TIME
@BY
async def test_a_cut_completion_is_never_a_short_answer_in_python(by: Cut) -> None:
    async with (
        serving(*PLAYS) as house,
        cutting(house.port, by, 1500) as proxy,
        client_of(proxy.url) as client,
    ):
        while proxy.cuts < CUTS:
            told = await chat(client)
            assert_no_short_answer(told)
            assert by == "end" or "error" in told or told["finish"]


async def chat(client: openai.AsyncOpenAI) -> dict[str, Any]:
    told: dict[str, Any] = {"text": "", "finish": None}
    try:
        async for chunk in await client.chat.completions.create(**ASKED, stream=True):
            told["text"] += chunk.choices[0].delta.content or ""
            told["finish"] = chunk.choices[0].finish_reason or told["finish"]
    except CUT as error:
        told["error"] = error
    return told


@NODE
@CUT_IN_TIME
@BY
async def test_cut_responses_are_whole_in_javascript(by: Cut) -> None:
    async with serving(*PLAYS) as house, cutting(house.port, by, 3500) as proxy:
        told = []
        while proxy.cuts < CUTS:
            told += await js("cut_responses", proxy, times=25)
    assert {one["sha256"] for one in told} == {one["whole"] for one in told} == {SHA256}
    assert all(one["rising"] for one in told)
    assert sum(one["resumed"] for one in told) > CUTS / 4


@CUT_IN_TIME
@BY
async def test_cut_responses_are_whole_in_python(by: Cut) -> None:
    async with (
        serving(*PLAYS) as house,
        cutting(house.port, by, 3500) as proxy,
        client_of(proxy.url) as client,
    ):
        while proxy.cuts < CUTS:
            assert sha256((await response(client)).encode()).hexdigest() == SHA256


async def response(client: openai.AsyncOpenAI) -> str:
    job, number, texts = "", -1, dict[int, str]()
    while True:
        try:
            stream: Any = await (
                client.responses.retrieve(job, stream=True, starting_after=number)
                if job
                else client.responses.create(model="sluice", input="Why?", stream=True)
            )
            async for event in stream:
                assert event.sequence_number > number
                number = event.sequence_number
                if event.type == "response.created":
                    job = event.response.id
                elif event.type == "response.output_text.delta":
                    said = texts.get(event.output_index, "")
                    texts[event.output_index] = said + event.delta
                elif event.type == "response.completed":
                    assert event.response.output_text == texts[max(texts)]
                    return texts[max(texts)]
        except CUT:
            continue


async def printed(*command: str, stdin: Path, cwd: Path, house: House) -> str:
    with stdin.open() as source:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=os.environ | {"OPENAI_BASE_URL": f"{house.url}/v1", "OPENAI_API_KEY": "none"},
        )
        async with asyncio.timeout(50):
            out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_the_example_in_python_prints_both_answers() -> None:
    async with serving(*PLAYS) as house:
        said = await printed(sys.executable, "-", stdin=EXAMPLES / "chat.py", cwd=HERE, house=house)
    assert said == f"{ANSWER}\n{ANSWER}\n"


@NODE
async def test_the_example_in_javascript_prints_both_answers() -> None:
    command = ("node", "--input-type=module", "-")
    async with serving(*PLAYS) as house:
        said = await printed(*command, stdin=EXAMPLES / "chat.mjs", cwd=HERE, house=house)
    assert said == f"{ANSWER}\n{ANSWER}\n"
