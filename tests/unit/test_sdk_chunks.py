"""What the caller of a streamed call gets for each event of its body."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent

from sluice.infrastructure.openai_sdk.chunks import Chunks, Dicts, OneText
from sluice.infrastructure.openai_sdk.events import ParsedEvent

REQUEST = httpx2.Request("POST", "http://x")
RESPONSE = SimpleNamespace(request=REQUEST)
PLAIN, OTHER = ParsedEvent("a", plain=True), ParsedEvent()


@dataclass
class Stream:
    """Of the SDK, which notes what it builds by itself."""

    _cast_to: Any = ChatCompletionChunk
    strict: bool = False
    response: Any = field(default_factory=lambda: RESPONSE)
    built: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client: Any = SimpleNamespace(
            _strict_response_validation=self.strict, _process_response_data=self._build
        )

    def _build(self, *, data: Any, cast_to: Any, response: Any) -> Any:
        assert (cast_to, response) == (self._cast_to, self.response)
        self.built.append(data)
        return data


def chunk(text: str = "a", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    given = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**given, "choices": [choice], **more}


ODD = chunk(created="1")
DELTA = {
    "type": "response.output_text.delta",
    "content_index": 0,
    "delta": "a",
    "item_id": "i",
    "logprobs": [],
    "output_index": 0,
    "sequence_number": 1,
}


def read(chunks: Chunks, *events: Any, heard: ParsedEvent = OTHER) -> list[Any]:
    return [each for event in events for each in chunks.of(json.dumps(event).encode(), heard)]


def test_a_documented_event_is_the_sdks_object_and_not_built_by_it() -> None:
    stream = Stream()
    assert read(Chunks(stream), chunk()) == [ChatCompletionChunk.model_validate(chunk())]
    stream = Stream(ResponseStreamEvent)
    assert read(Chunks(stream), DELTA) == [ResponseTextDeltaEvent.model_validate(DELTA)]
    assert stream.built == []


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        (ChatCompletionChunk, ODD),
        (dict, chunk()),
        (ResponseStreamEvent, {**DELTA, "type": "response.unknown"}),
        (ResponseStreamEvent, {"delta": "a"}),
        (ResponseStreamEvent, [1]),
        (ResponseStreamEvent, {**DELTA, "delta": 1}),
    ],
)
def test_whatever_else_comes_is_built_by_the_sdk(kind: Any, event: Any) -> None:
    stream = Stream(kind)
    assert read(Chunks(stream), event) == [event]
    assert stream.built == [event]


def test_a_client_that_is_strict_builds_everything_itself() -> None:
    stream = Stream(strict=True)
    assert read(Chunks(stream), chunk()) == stream.built == [chunk()]


def test_a_client_without_a_word_of_strictness_is_not_strict() -> None:
    stream: Any = SimpleNamespace(
        response=RESPONSE, _client=SimpleNamespace(), _cast_to=ChatCompletionChunk
    )
    assert read(Chunks(stream), chunk()) == [ChatCompletionChunk.model_validate(chunk())]


def test_after_three_odd_events_in_a_row_no_further_one_is_tried() -> None:
    stream = Stream()
    read(Chunks(stream), ODD, ODD, chunk(), ODD, ODD, chunk())
    assert len(stream.built) == 4
    stream = Stream()
    read(Chunks(stream), ODD, ODD, ODD, chunk())
    assert len(stream.built) == 4


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"message": "overloaded", "code": 1}, "overloaded"),
        ({"code": 1}, "An error occurred during streaming"),
        ({"message": ""}, "An error occurred during streaming"),
        ({"message": 3}, "An error occurred during streaming"),
        ("overloaded", "An error occurred during streaming"),
    ],
)
@pytest.mark.parametrize("event", [{}, chunk()])
def test_an_error_object_is_raised_as_the_sdk_does(
    event: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(openai.APIError) as raised:
        read(Chunks(Stream()), {**event, "error": error})
    assert (raised.value.message, raised.value.body) == (message, error)
    assert raised.value.request is REQUEST


def test_an_error_that_is_nothing_is_none() -> None:
    assert read(Chunks(Stream()), chunk(error=None))[0].choices
    assert read(Chunks(Stream(dict)), {"error": {}}) == [{"error": {}}]


@pytest.mark.parametrize("stream", [Stream(), Stream(ResponseStreamEvent)])
def test_what_is_no_json_is_the_sdks_error(stream: Stream) -> None:
    with pytest.raises(json.JSONDecodeError):
        list(Chunks(stream).of(b"{", OTHER))
    with pytest.raises(UnicodeDecodeError) as raised:
        list(Chunks(stream).of(b'{"a":"\xff"}', OTHER))
    assert raised.value.start == len(b'data: {"a":"')


def test_nothing_is_held_back() -> None:
    chunks = Chunks(Stream())
    read(chunks, chunk())
    assert list(chunks.left()) == []


def test_langchain_gets_a_dict_for_a_plain_text_and_objects_for_the_rest() -> None:
    dicts = Dicts(Stream())
    assert read(dicts, chunk(), heard=PLAIN) == [chunk()]
    assert read(dicts, chunk()) == [ChatCompletionChunk.model_validate(chunk())]
    assert list(dicts.left()) == []


def test_a_model_that_is_merely_invoked_gets_one_text_before_whatever_else_comes() -> None:
    one = OneText(Stream())
    assert read(one, chunk("x"), chunk("y"), heard=PLAIN) == []
    first, other = read(one, chunk("c"))
    assert first == chunk("aa")  # as its reader has heard them
    assert other == ChatCompletionChunk.model_validate(chunk("c"))
    assert read(one, chunk("c")) == [ChatCompletionChunk.model_validate(chunk("c"))]
    read(one, chunk("d", id="2"), heard=PLAIN)
    assert list(one.left()) == [chunk("a", id="2")]
    assert list(one.left()) == []


def test_a_text_that_is_taken_alone_is_joined_with_what_is_held() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    one.hold("b")
    assert list(one.left()) == [chunk("ab")]


USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def ended(**more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None, **more}
    return chunk(choices=[choice])


def test_its_end_and_its_usage_come_with_the_one_text() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), chunk("y"), heard=PLAIN)
    counted = chunk(choices=[], usage=USAGE, obfuscation="z")
    assert read(one, ended(), counted) == []
    choice = {"index": 0, "delta": {"content": "aa"}, "finish_reason": "stop"}
    assert list(one.left()) == [chunk(choices=[choice], usage=USAGE)]
    assert list(one.left()) == []


@pytest.mark.parametrize(
    "other",
    [
        ended(delta={"content": "z"}),
        ended(delta={"refusal": "no"}),
        ended(delta={"tool_calls": [{"index": 0}]}),
        ended(logprobs={"content": []}),
        ended(index=1),
        ended(finish_reason=None),
        {**ended(), "model": "another"},
        {**ended(), "service_tier": "flex"},
        {**ended(), "usage": USAGE},
        {**ended(), "choices": []},
        {**ended(), "choices": [*ended()["choices"], *ended()["choices"]]},
    ],
)
def test_what_says_more_than_an_end_comes_by_itself(other: dict[str, Any]) -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    text, alone = read(one, other)
    assert text["choices"][0]["delta"]["content"] == "a"
    assert not text["choices"][0].get("finish_reason")
    assert alone is not text


def test_text_behind_an_end_is_another_text() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    assert read(one, ended()) == []
    [first] = read(one, chunk("y"), heard=PLAIN)
    assert first["choices"][0]["finish_reason"] == "stop"
    assert read(one, chunk("z"), heard=PLAIN) == []
    [second] = one.left()
    assert second == chunk("aa")


@pytest.mark.parametrize(
    "other",
    [
        chunk(choices=[]),
        chunk(choices=[], usage=1),
        chunk("", usage=USAGE),
        {**ended(), "usage": USAGE},
    ],
)
def test_behind_its_end_only_its_usage_comes_with_the_one_text(other: dict[str, Any]) -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    assert read(one, ended()) == []
    text, alone = read(one, other)
    assert text["choices"][0]["finish_reason"] == "stop"
    assert not text.get("usage")
    assert alone is not text


def test_a_second_usage_comes_by_itself() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    counted, more = chunk(choices=[], usage=USAGE), {**USAGE, "total_tokens": 3}
    assert read(one, ended(), counted) == []
    text, alone = read(one, {**counted, "usage": more})
    assert text["usage"] == USAGE
    assert alone.usage.total_tokens == 3


def test_an_end_may_say_whose_it_is() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    assert read(one, ended(delta={"role": "assistant", "content": ""})) == []
    [text] = one.left()
    assert text["choices"][0]["finish_reason"] == "stop"


def test_what_is_no_json_behind_a_held_text_is_the_sdks_error_behind_it() -> None:
    one = OneText(Stream())
    read(one, chunk("x"), heard=PLAIN)
    given = one.of(b"{", OTHER)
    assert next(given) == chunk("a")
    with pytest.raises(json.JSONDecodeError):
        next(given)
