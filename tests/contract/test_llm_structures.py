"""Servers that refuse or ignore what they are asked for, and what is made of their answers."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.domain.ports import LLMClientPort, ToolCall
from sluice.offline_model import OfflineModel, RawAnswer, Reply
from sluice.offline_model import Usage as Counted

from .llm_clients import REAL, client
from .test_llm_endings import ASKING

GOOD = '{"label": "a", "sure": true}'
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


class Verdict(BaseModel):
    label: str
    sure: bool = True


VERDICT = Verdict(label="a")


@pytest.fixture(params=REAL)
async def llm(request: pytest.FixtureRequest, model: OfflineModel) -> AsyncIterator[LLMClientPort]:
    async with client(request.param, model.base_url) as llm:
        yield llm


def refuse(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch, *names: str, status: int = 400, why: str
) -> None:
    """The model refuses every call that has one of these parameters."""
    answer = model._reply_to

    def reply(body: Mapping[str, Any]) -> Reply | RawAnswer:
        if any(name in body for name in names):
            return RawAnswer(status, why.encode())
        return answer(body)

    monkeypatch.setattr(model, "_reply_to", reply)


def asked_with(model: OfflineModel) -> list[str]:
    """In what way each call asked for a structure."""
    ways = ("response_format", "tools")
    return [next((way for way in ways if way in each.body), "words") for each in model.requests]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (422, '{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}'),
        (400, '{"error":{"message":"Unknown parameter: \'stream_options\'."}}'),
        (400, '{"error":{"message":"Bad request"}}'),
        (400, ""),
        (422, '{"message":"Extra inputs are not permitted"}'),
        (400, "include_usage is not supported"),
    ],
)
@pytest.mark.parametrize("asking", ASKING)
async def test_a_server_that_refuses_stream_options_is_asked_once_more_without(
    llm: LLMClientPort,
    model: OfflineModel,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    why: str,
    asking: str,
) -> None:
    refuse(model, monkeypatch, "stream_options", status=status, why=why)
    for _ in range(2):
        model.script(Reply(['{"label": "a"}']))
        await ASKING[asking](llm)
    assert ["stream_options" in each.body for each in model.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (400, '{"error":{"message":"This model has a maximum context length of 10 tokens."}}'),
        (400, '{"error":{"message":"Bad value","param":"seed"}}'),
        (422, '{"error":{"message":"no"}}'),
        (404, '{"error":{"message":"The model does not exist"}}'),
    ],
)
async def test_another_refusal_is_one(
    llm: LLMClientPort, model: OfflineModel, monkeypatch: pytest.MonkeyPatch, status: int, why: str
) -> None:
    refuse(model, monkeypatch, "messages", status=status, why=why)
    for ask in ASKING.values():
        with pytest.raises(errors.UpstreamError) as failed:
            await ask(llm)
        assert failed.type is errors.UpstreamError
    assert model.opened == len(ASKING)


async def test_what_is_refused_either_way_is_not_remembered(
    llm: LLMClientPort, model: OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse(model, patch, "messages", why='{"error":{"message":"Bad request"}}')
        with pytest.raises(errors.UpstreamError):
            await llm.complete("What?")
    await llm.complete("What?")
    sent = ["stream_options" in each.body for each in model.requests]
    assert sent == [True, False, True]


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (400, '{"error":{"message":"This response_format type is unavailable now"}}'),
        (400, '{"error":{"message":"Bad request"}}'),
        (422, '{"detail":[{"loc":["body","response_format"],"msg":"Extra inputs"}]}'),
        (404, '{"error":{"message":"No endpoints support the requested parameters"}}'),
    ],
)
async def test_where_a_format_is_refused_a_tool_is_asked_for(
    llm: LLMClientPort, model: OfflineModel, monkeypatch: pytest.MonkeyPatch, status: int, why: str
) -> None:
    refuse(model, monkeypatch, "response_format", status=status, why=why)
    for _ in range(2):
        model.script(Reply.calling("Verdict", {"label": "a"}))
        assert await llm.structured("What?", Verdict) == VERDICT
    assert asked_with(model)[-2:] == ["tools", "tools"]
    assert "response_format" in asked_with(model)
    assert model.requests[-1].body["tool_choice"]["function"]["name"] == "Verdict"


@pytest.mark.parametrize("system", [None, "Be brief."])
async def test_where_both_are_refused_it_is_asked_for_in_words(
    llm: LLMClientPort, model: OfflineModel, monkeypatch: pytest.MonkeyPatch, system: str | None
) -> None:
    why = '{"error":{"message":"response_format and tools are not supported"}}'
    refuse(model, monkeypatch, "response_format", "tools", why=why)
    for _ in range(2):
        model.script(Reply([GOOD]))
        assert await llm.structured("What?", Verdict, system=system) == VERDICT
    assert asked_with(model) == ["response_format", "tools", "words", "words"]
    rule, question = model.requests[-1].body["messages"]
    assert rule["role"] == "system"
    assert rule["content"].startswith(system or "Answer")
    assert '"label"' in rule["content"]
    assert question == {"role": "user", "content": "What?"}


async def test_where_a_format_is_ignored_a_tool_is_asked_for_and_remembered(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    call = Reply.calling("Verdict", {"label": "a"})
    model.script(Reply(["Here you are!"]), call, call)
    assert await llm.structured("What?", Verdict) == VERDICT
    assert await llm.structured("What?", Verdict) == VERDICT
    assert asked_with(model) == ["response_format", "tools", "tools"]


async def test_where_all_is_ignored_the_output_is_unusable_and_nothing_is_learnt(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    for _ in range(2):
        model.script(*[Reply(["Here you are!"])] * 3)
        with pytest.raises(errors.UnusableOutput):
            await llm.structured("What?", Verdict)
    assert asked_with(model) == ["response_format", "tools", "words"] * 2


async def test_what_one_model_refuses_another_is_asked_for(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    call = Reply.calling("Verdict", {"label": "a"})
    model.script(Reply(["Here!"]), call, Reply([GOOD]))
    assert await llm.structured("What?", Verdict) == VERDICT
    current_node.set(NodeRun(ModelCalls("another"), "answer", speaks=False))
    assert await llm.structured("What?", Verdict) == VERDICT
    assert asked_with(model) == ["response_format", "tools", "response_format"]


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"```{GOOD}```",
        f"Here you are:\n\n```json\n{GOOD}\n```\nAnything else?",
        f"Here you are: {GOOD} Anything else?",
        f"<think>Maybe {{}}, or {{1}}?</think>\n{GOOD}",
        f"<think>a draft: {json.dumps({'label': 'x'})}</think>\n\n```json\n{GOOD}\n```",
        f"hm, a label\n</think>\n{GOOD}",
        f"<thinking>hm</thinking>{GOOD}",
        f'First {{"label": "x"}}, then {{"no": 1}}, no: {GOOD}',
        f"\ufeff{GOOD}\n",
    ],
)
async def test_fences_thinking_and_prose_around_json_are_taken_off(
    llm: LLMClientPort, model: OfflineModel, text: str
) -> None:
    model.script(Reply([text[:7], text[7:]]))
    assert await llm.structured("What?", Verdict) == VERDICT
    assert model.opened == 1


async def test_thinking_beside_the_json_is_none_of_it(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    model.script(Reply([{"reasoning_content": "{"}, GOOD]))
    assert await llm.structured("What?", Verdict) == VERDICT


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (["null"], {}),
        ([" ", "\n"], {}),
        ([""], {}),
        (["{}"], {}),
        (["{}", '{"a": 1}'], {"a": 1}),
        ([" {}", '{"a":', "1} "], {"a": 1}),
    ],
)
async def test_arguments_may_be_none_and_begin_with_none(
    pieces: list[str], arguments: dict[str, Any], llm: LLMClientPort, model: OfflineModel
) -> None:
    """Each with the tool's name once more."""
    deltas = [
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "find", "arguments": piece}}]}
        for piece in pieces
    ]
    model.script(Reply(deltas, finish_reason="tool_calls"))
    assert await llm.call_tool("What?", [TOOL]) == ToolCall("find", arguments)


async def test_arguments_may_come_as_an_object(llm: LLMClientPort, model: OfflineModel) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "find", "arguments": {"a": ["각", None]}}}
    model.script(Reply([{"tool_calls": [call]}], finish_reason="tool_calls"))
    assert await llm.call_tool("What?", [TOOL]) == ToolCall("find", {"a": ["각", None]})


async def test_of_usage_in_every_chunk_the_last_counts(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    calls = ModelCalls()
    current_node.set(NodeRun(calls, "answer", speaks=True))
    pieces = [
        json.dumps(
            {
                "choices": [{"delta": {"content": text}, "finish_reason": finish}],
                "usage": {"prompt_tokens": 2, "completion_tokens": count},
            }
        ).encode()
        for count, (text, finish) in enumerate([("a", None), ("b", None), ("c", "stop")], 1)
    ]
    model.script(Reply(pieces, finish_reason=None, usage=Counted(2, 4)))
    assert await llm.complete("What?") == "abc"
    assert calls.usage in (None, Usage(2, 4, 6))  # LangChain's callbacks tell the other
