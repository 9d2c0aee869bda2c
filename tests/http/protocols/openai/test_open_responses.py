"""What the Open Responses specification (openresponses.org, 2026-04-24) asks of these routes.

Left out is what a pipeline does not offer: client tools, images and files, `previous_response_id`,
compaction, WebSockets. Where the specification and OpenAI's own clients part, the clients are
followed: reasoning comes as `response.reasoning_text.…`, a bad request is an
`invalid_request_error`, and behind text that was taken back there is another message.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import pytest

from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reasoning, Reset, StageStarted, Token, Tool
from tests.http.house import House
from tests.http.protocols.openai.clients import ANSWER, DONE, WORDS, asking
from tests.waiting import until

Fields = Mapping[str, type | tuple[type, ...]]
MAYBE_TEXT, MAYBE_COUNT = (str, NoneType), (int, NoneType)
NUMBER = (int, float)
RESPONSE: Fields = {
    "id": str, "object": str, "created_at": int, "completed_at": MAYBE_COUNT, "status": str,
    "incomplete_details": (dict, NoneType), "model": str, "previous_response_id": MAYBE_TEXT,
    "instructions": MAYBE_TEXT, "output": list, "error": (dict, NoneType), "tools": list,
    "tool_choice": (str, dict), "truncation": str, "parallel_tool_calls": bool, "text": dict,
    "top_p": NUMBER, "presence_penalty": NUMBER, "frequency_penalty": NUMBER,
    "top_logprobs": int, "temperature": NUMBER, "reasoning": (dict, NoneType),
    "usage": (dict, NoneType), "max_output_tokens": MAYBE_COUNT, "max_tool_calls": MAYBE_COUNT,
    "store": bool, "background": bool, "service_tier": str, "metadata": dict,
    "safety_identifier": MAYBE_TEXT, "prompt_cache_key": MAYBE_TEXT,
    "conversation": (dict, NoneType),
}  # fmt: skip
MESSAGE: Fields = {"id": str, "type": str, "status": str, "role": str, "content": list}
THOUGHT: Fields = {"id": str, "type": str, "status": str, "summary": list, "content": list}
PARTS: Mapping[str, Fields] = {
    "output_text": {"type": str, "text": str, "annotations": list, "logprobs": list},
    "reasoning_text": {"type": str, "text": str},
}
USAGE: Fields = {
    "input_tokens": int, "output_tokens": int, "total_tokens": int,
    "input_tokens_details": dict, "output_tokens_details": dict,
}  # fmt: skip
OF_ITEM: Fields = {"item_id": str, "output_index": int, "content_index": int}
EVENTS: Mapping[str, Fields] = {
    **{f"response.{state}": {"response": dict}
       for state in ("created", "in_progress", "completed", "failed", "incomplete")},
    **{f"response.output_item.{what}": {"output_index": int, "item": dict}
       for what in ("added", "done")},
    **{f"response.content_part.{what}": {**OF_ITEM, "part": dict} for what in ("added", "done")},
    **{f"response.{kind}.delta": {**OF_ITEM, "delta": str} for kind in PARTS},
    **{f"response.{kind}.done": {**OF_ITEM, "text": str} for kind in PARTS},
}  # fmt: skip
ENDS = {"response.completed", "response.failed", "response.incomplete"}
STATUSES = {"queued", "in_progress", "completed", "failed", "incomplete", "cancelled"}
ASKED: dict[str, Any] = {"model": "sluice", "input": "Why?"}
THINKS = Reasoning("hm, ", "answer"), Reasoning("well", "answer")
TOOL = Tool("call_1", "look", "answer", "started")
TOLD: dict[str, tuple[str, list[Any]]] = {
    "tokens": ("completed", [StageStarted("answer", 10), *WORDS, DONE]),
    "a whole answer": ("completed", [Done("A1", ANSWER)]),
    "no answer": ("completed", [Done("A2", "")]),
    "thoughts and a tool": ("completed", [*THINKS, TOOL, *THINKS, *WORDS, DONE]),
    "text taken back": (
        "completed",
        [Token("wrong", "answer"), Reset("revised"), *WORDS, DONE],
    ),
    "a failure": ("failed", [*THINKS, WORDS[0], UpstreamTruncated()]),
}
EACH = pytest.mark.parametrize(("status", "plays"), TOLD.values(), ids=TOLD)


def check(given: Any, fields: Fields) -> None:
    """All of the fields are there, each of its type; a boolean is no number."""
    assert isinstance(given, dict)
    for name, kinds in fields.items():
        assert name in given, f"{name} is missing in {given}"
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        assert type(given[name]) in wanted, (name, given[name])


def check_response(given: Any) -> None:
    check(given, RESPONSE)
    assert given["object"] == "response"
    assert given["status"] in STATUSES
    assert given["text"]["format"] == {"type": "text"}
    assert given["truncation"] in {"auto", "disabled"}
    assert given["tool_choice"] in {"none", "auto", "required"}
    assert (given["error"] is not None) == (given["status"] == "failed")
    if given["error"]:
        check(given["error"], {"code": str, "message": str})
    if given["usage"]:
        check(given["usage"], USAGE)
        check(given["usage"]["input_tokens_details"], {"cached_tokens": int})
        check(given["usage"]["output_tokens_details"], {"reasoning_tokens": int})
    for item in given["output"]:
        check_item(item)


def check_item(item: Any) -> None:
    check(item, MESSAGE if item["type"] == "message" else THOUGHT)
    assert item["type"] in {"message", "reasoning"}
    assert item["status"] in {"in_progress", "completed", "incomplete"}
    assert item.get("role", "assistant") == "assistant"
    for part in item["content"]:
        check(part, PARTS[part["type"]])


def events_of(body: str) -> list[Any]:
    """The stream's form: the event is named as its data is, has no id, and `[DONE]` is the last."""
    *frames, last, rest = body.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    found = []
    for frame in frames:
        if not frame.startswith(":"):
            event, data = frame.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert event == f"event: {found[-1]['type']}"
    return found


def check_stream(events: Sequence[Any]) -> Any:
    """The order of all events, and of each item's; returns the response that it came to."""
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    for event in events:
        check(event, EVENTS[event["type"]])
        if "response" in event:
            check_response(event["response"])
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created"
    assert [kind for kind in kinds if kind in ENDS] == kinds[-1:]
    assert kinds.count("response.created") == 1
    assert kinds.count("response.in_progress") <= 1
    count = kinds.count("response.output_item.added")
    done = [check_told(events, index) for index in range(count)]
    end = events[-1]["response"]
    for item in end["output"]:
        assert item in done
    return end


def check_told(events: Sequence[Any], index: int) -> Any:
    """One item's life: it is added empty, its part grows, both are done. Returns it."""
    of_item = iter([event for event in events if event.get("output_index") == index])
    added = next(of_item)["item"]
    check_item(added)
    assert (added["status"], added["content"]) == ("in_progress", [])
    opened = next(of_item)
    kind = opened["part"]["type"]
    check(opened["part"], PARTS[kind])
    assert opened["type"] == "response.content_part.added"
    assert opened["part"]["text"] == ""
    said, whole = deltas(of_item, kind)
    assert (whole["type"], whole["text"]) == (f"response.{kind}.done", said)
    closed, done = next(of_item), next(of_item)
    assert (closed["type"], closed["part"]["text"]) == ("response.content_part.done", said)
    assert done["type"] == "response.output_item.done"
    check_item(done["item"])
    assert done["item"]["content"] == [closed["part"]]
    assert done["item"]["status"] in {"completed", "incomplete"}
    assert [each["item_id"] for each in (opened, whole, closed)] == [added["id"]] * 3
    assert done["item"]["id"] == added["id"]
    assert next(of_item, None) is None
    return done["item"]


def deltas(events: Iterator[Any], kind: str) -> tuple[str, Any]:
    """All that was added, and the event behind it."""
    said = ""
    for event in events:
        if event["type"] != f"response.{kind}.delta":
            return said, event
        said += event["delta"]
    raise AssertionError("the item was never done")


async def streamed(house: House, **fields: Any) -> tuple[str, list[Any]]:
    answer = await house.client.post("/v1/responses", json=ASKED | fields | {"stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer.headers["x-sluice-job"], events_of(answer.text)


async def shown(house: House, path: str, method: str = "GET", **request: Any) -> Any:
    answer = await house.client.request(method, path, **request)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    response = answer.json()
    check_response(response)
    return response


@EACH
async def test_a_stream_has_its_events_in_order_and_ends_in_the_response(
    status: str, plays: list[Any]
) -> None:
    async with asking(*plays) as (house, _):
        job, events = await streamed(house)
        end = check_stream(events)
        assert (end["id"], end["status"]) == (job, status)
        assert events[-1]["type"] == f"response.{status}"
        assert await shown(house, f"/v1/responses/{job}") == end
        again = await house.client.get(f"/v1/responses/{job}?stream=true")
        assert events_of(again.text)[-1] == events[-1]
        behind = f"/v1/responses/{job}?stream=true&starting_after={events[-1]['sequence_number']}"
        over = await house.client.get(behind)
        assert (over.headers["content-type"].split(";")[0], events_of(over.text)) == (
            "text/event-stream",
            [],
        )


@EACH
async def test_a_response_that_is_waited_for_has_every_field(status: str, plays: list[Any]) -> None:
    async with asking(*plays) as (house, _):
        response = await shown(house, "/v1/responses", "POST", json=ASKED)
        assert response["status"] == status
        cancel = f"/v1/responses/{response['id']}/cancel"
        assert await shown(house, cancel, "POST") == response  # it is over, and stays as it ended


async def test_a_response_goes_from_queued_to_cancelled_with_every_field() -> None:
    async with asking(*THINKS, WORDS[0], asyncio.Event(), DONE) as (house, _):
        begun = await shown(house, "/v1/responses", "POST", json=ASKED | {"background": True})
        assert begun["status"] in {"queued", "in_progress"}
        assert begun["background"] is True
        path = f"/v1/responses/{begun['id']}"
        await until(lambda: house.log._logs[begun["id"]].records[-1].event == WORDS[0])
        running = await shown(house, path)
        assert running["status"] == "in_progress"
        assert [item["status"] for item in running["output"]] == ["completed", "in_progress"]
        reading = asyncio.create_task(house.client.get(f"{path}?stream=true"))
        cancelled = await shown(house, f"{path}/cancel", "POST")
        assert cancelled["status"] == "cancelled"
        end = check_stream(events_of((await reading).text))
        assert end == cancelled == await shown(house, path)
        assert end["output"][-1]["status"] == "incomplete"


INPUTS: dict[str, tuple[Any, list[str]]] = {
    "a text": ("Why?", []),
    "a message": ([{"type": "message", "role": "user", "content": "Why?"}], []),
    "a part": (
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Why?"}]}],
        [],
    ),
    "a system prompt": (
        [{"role": role, "content": role} for role in ("system", "developer")]
        + [{"role": "user", "content": "Why?"}],
        ["system", "developer"],
    ),
    "several turns": (
        [{"type": "message", "role": role, "content": said}
         for role, said in (("user", "One?"), ("assistant", "1"), ("user", "Why?"))],
        ["One?", "1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "before"), INPUTS.values(), ids=INPUTS)
async def test_every_form_of_input_is_understood(given: Any, before: list[str]) -> None:
    async with asking() as (house, _):
        fields = dict.fromkeys(("instructions", "metadata", "previous_response_id", "tools"))
        asked = ASKED | fields | {"input": given, "truncation": "disabled", "store": True}
        response = await shown(house, "/v1/responses", "POST", json=asked)
        assert [item["type"] for item in response["output"]] == ["message"]
        (question,) = house.pipeline.asked
        assert question.job.message == "Why?"
        assert [turn.content for turn in question.history] == before


async def test_what_a_response_has_as_output_may_be_the_next_ones_input() -> None:
    async with asking(*THINKS, *WORDS, DONE) as (house, _):
        output = (await shown(house, "/v1/responses", "POST", json=ASKED))["output"]
        assert [item["type"] for item in output] == ["reasoning", "message"]
        first, last = {"role": "user", "content": "Why?"}, {"role": "user", "content": "And?"}
        asked = ASKED | {"input": [first, *output, last]}
        await shown(house, "/v1/responses", "POST", json=asked)
        history = house.pipeline.asked[1].history
        assert [turn.content for turn in history] == ["Why?", ANSWER]
        wrong = ASKED | {"input": [first, *output, {"type": "item_reference", "id": "x"}]}
        refused = await house.client.post("/v1/responses", json=wrong)
        assert refused.json()["error"]["param"] == "input.3.type"


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "told"),
    [
        ("POST", "/v1/responses", {"model": "other", "input": "Why?"}, 404,
         ("invalid_request_error", "model", "model_not_found")),
        ("POST", "/v1/responses", {"model": "sluice"}, 400,
         ("invalid_request_error", "input", "invalid_field")),
        ("POST", "/v1/responses", ASKED | {"tools": [{"type": "function", "name": "f"}]}, 400,
         ("invalid_request_error", "tools", "invalid_field")),
        ("GET", "/v1/responses/none", None, 404, ("invalid_request_error", None, "not_found")),
        ("POST", "/v1/responses/none/cancel", None, 404,
         ("invalid_request_error", None, "not_found")),
    ],
)  # fmt: skip
async def test_an_error_says_its_kind_its_code_and_its_parameter(
    method: str, path: str, given: Any, status: int, told: tuple[str | None, ...]
) -> None:
    async with asking() as (house, _):
        answer = await house.client.request(method, path, json=given)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert set(answer.json()) == {"error"}
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert (error["type"], error["param"], error["code"]) == told
