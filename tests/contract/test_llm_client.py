"""LLMClientPort, as nodes see it: both clients against a real server, and the double."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from pydantic import BaseModel
from pytest_mock import MockerFixture

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain.errors import UpstreamBadResponse
from sluice.domain.ports import ToolCall
from sluice.infrastructure.llm import body as bodies_of
from sluice.offline_model import Gate, OfflineModel, RawAnswer, Reply

from .llm_clients import REAL, Double, Real, Subject, client

MIXED = ("무색 ", "페트병", "은 ", "👩‍👩‍👧‍👦", " 각자의\n", "‮rtl ", "\u2028", "한", ".")
TEXT = "".join(MIXED)
LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "looks a word up",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}


class Verdict(BaseModel):
    label: str
    sure: bool


@pytest.fixture(params=[*REAL, "chat-openai", "double"])
async def subject(request: pytest.FixtureRequest, model: OfflineModel) -> AsyncIterator[Subject]:
    if request.param == "double":
        yield Double()
        return
    async with client(request.param, model.base_url) as llm:
        yield Real(llm, model)


@pytest.fixture(params=REAL)
async def real(request: pytest.FixtureRequest, model: OfflineModel) -> AsyncIterator[Real]:
    async with client(request.param, model.base_url) as llm:
        yield Real(llm, model)


async def test_a_stream_yields_the_text_piece_by_piece(subject: Subject) -> None:
    subject.says(*MIXED)
    async with aclosing(subject.llm.stream("What?")) as pieces:
        assert [piece async for piece in pieces] == list(MIXED)


async def test_a_completion_is_the_joined_text(subject: Subject) -> None:
    subject.says(*MIXED)
    assert await subject.llm.complete("What?") == TEXT


async def test_nothing_said_is_an_empty_text(subject: Subject) -> None:
    subject.says()
    subject.says()
    assert await subject.llm.complete("What?") == ""
    assert [piece async for piece in subject.llm.stream("What?")] == []


async def test_structured_output_is_an_instance_of_the_model(subject: Subject) -> None:
    subject.says('{"label":', ' "무색", "su', 're": true}')
    assert await subject.llm.structured("What?", Verdict) == Verdict(label="무색", sure=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "a"',
        '{"label": "a"}',
        "I cannot say.",
        '"text"',
        '{"label": "\\ud800", "sure": 1}',
    ],
    ids=["cut", "incomplete", "prose", "no object", "lone surrogate"],
)
async def test_output_of_another_structure_is_a_bad_response(subject: Subject, text: str) -> None:
    """However it is asked for: see `test_llm_structures.py`."""
    for _ in range(3):
        subject.says(text)
    with pytest.raises(UpstreamBadResponse):
        await subject.llm.structured("What?", Verdict)


async def test_a_tool_call_comes_with_its_arguments(subject: Subject) -> None:
    subject.calls("look_up", {"word": "분리배출 👩‍👩‍👧‍👦", "deep": {"n": [1, 2.5, None, True]}})
    assert await subject.llm.call_tool("What?", [LOOK_UP]) == ToolCall(
        "look_up", {"word": "분리배출 👩‍👩‍👧‍👦", "deep": {"n": [1, 2.5, None, True]}}
    )


async def test_a_model_that_calls_no_tool_answers_in_text(subject: Subject) -> None:
    subject.says(*MIXED)
    assert await subject.llm.call_tool("What?", [LOOK_UP]) == TEXT


async def test_the_model_is_asked_what_the_node_asks(subject: Subject) -> None:
    chat = [
        {"role": "user", "content": "안녕"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "What?"},
    ]
    rules = {"role": "system", "content": "Be brief."}
    subject.says("a")
    await subject.llm.complete("What?")
    assert subject.asked() == chat[2:]
    subject.says("a")
    await subject.llm.complete(chat, system="Be brief.")
    assert subject.asked() == [rules, *chat]


async def test_the_first_piece_is_there_before_the_last_is_made(real: Real) -> None:
    gate = Gate()
    real.model.script(Reply(MIXED, hold_after=2, gate=gate))
    async with aclosing(real.llm.stream("What?")) as pieces, asyncio.timeout(5):
        assert [await anext(pieces), await anext(pieces)] == list(MIXED[:2])
        gate.release()
        assert [piece async for piece in pieces] == list(MIXED[2:])


async def test_a_body_is_read_with_nothing_between(real: Real, mocker: MockerFixture) -> None:
    """Should it fail with a later SDK, all is well but slower: see `body_of`."""
    bodies = mocker.spy(bodies_of, "plain_body")
    assert await real.llm.complete("What?")
    assert bodies.spy_return is not None


async def test_a_compressed_body_is_read_as_well(
    real: Real, mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = {"index": 0, "delta": {"content": TEXT}, "finish_reason": "stop"}
    body = gzip.compress(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
    compressed = RawAnswer(200, body, "text/event-stream", {"Content-Encoding": "gzip"})
    monkeypatch.setattr(real.model, "_reply_to", lambda _: compressed)
    bodies = mocker.spy(bodies_of, "plain_body")
    assert await real.llm.complete("What?") == TEXT
    assert bodies.spy_return is None


async def test_only_what_is_set_is_sent(real: Real) -> None:
    real.says("a")
    await real.llm.complete("What?")
    assert real.model.requests[-1].body == {
        "model": "sluice-offline",
        "messages": [{"role": "user", "content": "What?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_schemas_and_tools_are_sent_as_the_api_wants_them(real: Real) -> None:
    real.says('{"label": "a", "sure": true}')
    await real.llm.structured("What?", Verdict)
    schema = real.model.requests[-1].body["response_format"]
    assert (schema["type"], schema["json_schema"]["name"]) == ("json_schema", "Verdict")
    assert schema["json_schema"]["strict"]
    assert schema["json_schema"]["schema"]["additionalProperties"] is False
    real.says("a")
    await real.llm.call_tool("What?", [LOOK_UP])
    assert real.model.requests[-1].body["tools"] == [LOOK_UP]


async def test_each_call_is_made_to_the_model_of_its_job(real: Real) -> None:
    async def ask(model: str | None) -> None:
        current_node.set(NodeRun(ModelCalls(model), "answer", speaks=True))
        await real.llm.complete("What?")

    real.says("a")
    real.says("a")
    await asyncio.gather(ask("another"), ask(None))
    asked = sorted(request.body["model"] for request in real.model.requests)
    assert asked == ["another", "sluice-offline"]


async def test_several_tool_calls_are_told_apart(real: Real) -> None:
    def part(index: int, text: str, name: str | None = None) -> dict[str, Any]:
        named = {"id": f"call_{index}", "type": "function"} if name else {}
        function = {"arguments": text} | ({"name": name} if name else {})
        return {"tool_calls": [{"index": index, **named, "function": function}]}

    mixed = (part(0, '{"a"', "first"), part(1, '{"b"', "second"), part(0, ": 1}"), part(1, ": 2}"))
    real.model.script(Reply(mixed, finish_reason="tool_calls"))
    assert await real.llm.call_tool("What?", [LOOK_UP]) == ToolCall("first", {"a": 1})


@pytest.mark.parametrize("indices", [(1, 0), (0, 0), (None, None)])
async def test_tool_calls_are_told_apart_whatever_their_servers_number_them(
    real: Real, indices: tuple[int | None, int | None]
) -> None:
    """In any order; and some servers give all of them one number, or none."""

    def part(which: int, arguments: str, **named: str) -> dict[str, Any]:
        function = named | {"arguments": arguments}
        call = {"index": indices[which], "id": f"call {which}", "function": function}
        return {"tool_calls": [call]}

    one, other = part(0, '{"a":', name="find"), part(1, '{"b":', name="look")
    mixed = [one, part(0, "1}"), other, part(1, "2}")]
    real.model.script(Reply(mixed, finish_reason="tool_calls"))
    lowest = ToolCall("look", {"b": 2}) if indices == (1, 0) else ToolCall("find", {"a": 1})
    assert await real.llm.call_tool("What?", [LOOK_UP]) == lowest


async def test_a_tool_call_whose_every_piece_has_another_id_is_one(real: Real) -> None:
    named = {"name": "find", "arguments": ""}
    pieces = [
        {"tool_calls": [{"index": 0, "id": f"call {n}", "function": function}]}
        for n, function in enumerate([named, {"arguments": '{"a":'}, {"arguments": "1}"}])
    ]
    real.model.script(Reply(pieces, finish_reason="tool_calls"))
    assert await real.llm.call_tool("What?", [LOOK_UP]) == ToolCall("find", {"a": 1})


async def test_a_proxy_is_not_asked_for_a_model_on_this_machine(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    model.script(Reply(["a"]))
    async with client("raw", model.base_url) as llm:
        assert await llm.complete("What?") == "a"


async def test_two_hundred_calls_at_once_do_not_queue(real: Real) -> None:
    gate = Gate()
    real.model.script_when(lambda _: True, Reply(["a"], hold_after=0, gate=gate))
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(real.llm.complete(str(n))) for n in range(200)]
        await real.model.until_called(200)
        gate.release()
    assert {call.result() for call in calls} == {"a"}
