"""What the rules answer, asked through the protocol."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from infrastructure.offline_model.rules import pieces

EVENTS = """
<passage source="events.md" title="Resuming a stream">
# Resuming a stream

Every event has an id. A reader that comes back sends the last
id it saw in the `Last-Event-ID` header.

- 연결이 끊기면 마지막 id를 `Last-Event-ID` 헤더에 넣으세요. 그러면 스트림을 이어받습니다.
- 무색 페트병은 라벨을 떼고 버립니다.

```sh
curl -N http://127.0.0.1:8000/api/v1/chat/JOB/events
```
</passage>
"""
SETTINGS = """
<passage source="settings&amp;more.md" title="Settings">
| variable | meaning | default |
|---|---|---|
| `SLUICE_PORT` | where to listen | `8000` |
| `SLUICE_RETENTION` | seconds a log can be read | 3600 |
</passage>
"""
INTENTS = """
- greeting: hi, hello, 안녕
- how_to: how do I, resume, 어떻게, 이어받
- troubleshooting: error, not working, 안 나와, 오류
default: how_to
"""


def chat(system: str, *turns: str) -> Any:
    """The user speaks first and last."""
    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": text} for at, text in enumerate(turns)]
    return [{"role": "system", "content": system}, *said]


async def ask(client: AsyncOpenAI, system: str, *turns: str) -> str:
    whole = await client.chat.completions.create(model="m", messages=chat(system, *turns))
    return whole.choices[0].message.content or ""


async def fill(client: AsyncOpenAI, schema: object, message: str, system: str = "x") -> Any:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    whole = await client.chat.completions.create(
        model="m", messages=chat(system, message), response_format=wanted
    )
    return json.loads(whole.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("question", "quoted", "source"),
    [
        (
            "How do I resume a stream?",
            "A reader that comes back sends the last id it saw in the `Last-Event-ID` header.",
            "events.md",
        ),
        ("스트림을 이어받으려면?", "그러면 스트림을 이어받습니다.", "events.md"),
        ("페트병 라벨은요?", "무색 페트병은 라벨을 떼고 버립니다.", "events.md"),
        ("Which port is it?", "`SLUICE_PORT` · where to listen · `8000`", "settings&more.md"),
        ("SLUICE_RETENTION 기본값은?", "· seconds a log can be read · 3600", "settings&more.md"),
        ("curl please", "curl -N http://127.0.0.1:8000/api/v1/chat/JOB/events", "events.md"),
    ],
)
async def test_an_answer_quotes_what_fits_and_names_the_source(
    client: AsyncOpenAI, question: str, quoted: str, source: str
) -> None:
    answer = await ask(client, EVENTS + SETTINGS, question)
    assert quoted in answer
    assert f"— {source}" in answer
    assert 1 <= answer.count("\n> ") <= 4


async def test_what_does_not_fit_is_not_quoted(client: AsyncOpenAI) -> None:
    answer = await ask(client, EVENTS + SETTINGS, "What is the default of SLUICE_PORT?")
    assert "RETENTION" not in answer
    assert "events.md" not in answer


async def test_an_answer_says_when_nothing_fits(client: AsyncOpenAI) -> None:
    assert "No sentence" in await ask(client, SETTINGS, "Who won the football match?")
    assert "꼭 맞는 문장은 없습니다" in await ask(client, SETTINGS, "축구는 누가 이겼어?")


async def test_a_closing_tag_quoted_in_a_passage_is_shown_as_it_was(client: AsyncOpenAI) -> None:
    system = '<passage source="a.md">\nThe tag <\\/passage> ends a quotation.\n</passage>'
    assert "The tag </passage> ends a quotation." in await ask(client, system, "Which tag?")


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("Hello there!", "Hello!"),
        ("안녕하세요", "안녕하세요!"),
        ("정말 고마워요", "천만에요."),
        ("Thanks a lot", "You are welcome."),
        ("What is the capital of France?", "I am the offline model"),
        ("프랑스의 수도는?", "오프라인 모델"),
    ],
)
async def test_without_passages_it_is_polite_and_honest(
    client: AsyncOpenAI, message: str, answer: str
) -> None:
    assert answer in await ask(client, "Answer.", message)


@pytest.mark.parametrize(
    ("turns", "answer"),
    [
        (("My name is Ada Lovelace and I am new.", "Hi", "What's my name?"), "Ada Lovelace"),
        (("안녕, 내 이름은 민수야.", "네", "내 이름이 뭐야?"), "이름은 민수입니다."),
        (("hi", "Hello", "Who am I?"), "You have not told me your name."),
        (("How do I resume?", "…", "What did I ask before?"), "“How do I resume?”"),
        (("라벨은?", "…", "뚜껑은?", "…", "내가 처음에 뭐라고 물어봤지?"), "“라벨은?”"),
        (("라벨은?", "…", "뚜껑은?", "…", "내가 아까 뭐라고 했지?"), "“뚜껑은?”"),
        (("What did I say?",), "first message"),
        (("내 이름은 지우입니다",), "지우 님"),
    ],
)
async def test_it_remembers_the_conversation(
    client: AsyncOpenAI, turns: tuple[str, ...], answer: str
) -> None:
    assert answer in await ask(client, EVENTS, *turns)


@pytest.mark.parametrize(
    ("message", "intents"),
    [
        ("hello", ["greeting"]),
        ("스트림을 이어받는 방법", ["how_to"]),
        ("안녕하세요, 토큰이 안 나와요", ["greeting", "troubleshooting"]),
        ("Not working: how do I go on after errors?", ["how_to", "troubleshooting"]),
        ("history", ["how_to"]),
        ("음", ["how_to"]),
    ],
)
async def test_the_members_of_an_enum_are_chosen_by_the_cues_of_the_prompt(
    client: AsyncOpenAI, message: str, intents: list[str]
) -> None:
    member = {"enum": ["greeting", "how_to", "troubleshooting"], "type": "string"}
    schema = {
        "$defs": {"Intent": member},
        "type": "object",
        "properties": {
            "names": {"type": "array", "items": {"$ref": "#/$defs/Intent"}},
            "main": {"$ref": "#/$defs/Intent"},
        },
    }
    got = await fill(client, schema, message, INTENTS)
    assert got["names"] == intents
    assert got["main"] in intents


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 7}, 7),
        ({"enum": ["red", "blue"]}, "blue"),
        ({"type": "string"}, "Book"),
        ({"type": ["null", "string"], "maxLength": 2}, "Bo"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer"}, 3),
        ({"type": "number", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMaximum": 3}, 2),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 3),
        ({"allOf": [{"type": "integer"}, {"maximum": 2}]}, 2),
        ({"type": "array", "items": {"type": "number"}}, [3, 4.5]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["Book", "Anna"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 1}, ["Book"]),
        (
            {"properties": {"is_blue": {"type": "boolean"}, "language": {"type": "string"}}},
            {"is_blue": True, "language": "en"},
        ),
        (
            {"properties": {"a": {"type": "integer"}, "b": {"type": "number"}}},
            {"a": 3, "b": 4.5},
        ),
        ({}, "Book"),
    ],
)
async def test_any_schema_is_filled_from_the_message(
    client: AsyncOpenAI, schema: dict[str, object], value: object
) -> None:
    message = 'Take 3 blue things for 4.5, called "Book" and "Anna", please.'
    assert await fill(client, schema, message) == value


async def test_a_schema_that_contains_itself_is_filled_once(client: AsyncOpenAI) -> None:
    node = {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "children": {"type": "array", "items": {"$ref": "#"}},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
    }
    schema = {"type": "object", "properties": {"root": node}, "$defs": {"Node": node}}
    schema = json.loads(json.dumps(schema).replace('"#"', '"#/$defs/Node"'))
    filled = await fill(client, schema, "5")
    inner = {"value": 0, "children": [], "next": None}
    assert filled == {"root": {"value": 5, "children": [inner], "next": inner}}


async def test_json_without_a_schema_is_an_object(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="m", messages=chat("x", "hello"), response_format={"type": "json_object"}
    )
    assert "Hello!" in json.loads(whole.choices[0].message.content or "")["answer"]


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city. 도시의 날씨를 알려 준다.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
ADD: Any = {
    "type": "function",
    "function": {
        "name": "addNumbers",
        "description": "Adds two numbers.",
        "parameters": {"properties": {"a": {"type": "number"}, "b": {"type": "number"}}},
    },
}
NAMED: Any = {"type": "function", "function": {"name": "addNumbers"}}


@pytest.mark.parametrize(
    ("message", "choice", "name", "arguments"),
    [
        ("What is the weather in New York for 3 days?", "auto", "get_weather", ("New York", 3)),
        ("'서울' 날씨 알려줘", "auto", "get_weather", ("서울", 0)),
        ("Add the numbers 3 and 4.5", "auto", "addNumbers", (3, 4.5)),
        ("Whatever 'Oslo'", "required", "get_weather", ("Oslo", 0)),
        ("The weather, 1 and 2", NAMED, "addNumbers", (1, 2)),
        ("Tell me a joke", "auto", None, ()),
        ("What is the weather?", "none", None, ()),
    ],
)
async def test_a_tool_is_called_when_it_fits_or_must_be(
    client: AsyncOpenAI, message: str, choice: Any, name: str | None, arguments: tuple[Any, ...]
) -> None:
    whole = await client.chat.completions.create(
        model="m", messages=chat("x", message), tools=[WEATHER, ADD], tool_choice=choice
    )
    said = whole.choices[0].message
    if name is None:
        assert (said.tool_calls, whole.choices[0].finish_reason) == (None, "stop")
        assert said.content
        return
    (call,) = list(said.tool_calls or ())
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == name
    assert tuple(json.loads(call.function.arguments).values()) == arguments
    assert whole.choices[0].finish_reason == "tool_calls"


async def test_the_result_of_a_tool_is_told_and_no_tool_called_again(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="m",
        messages=[
            {"role": "user", "content": "What is the weather?"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "Sunny, 21 degrees"},
        ],
        tools=[WEATHER],
    )
    assert whole.choices[0].message.content == "The tool says: Sunny, 21 degrees"


async def test_content_may_come_in_parts(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    )
    assert (whole.choices[0].message.content or "").startswith("Hello!")


@given(st.text())
def test_joined_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(pieces(text))


def test_korean_comes_in_pieces_of_syllables() -> None:
    assert pieces("무색 페트병은 👩‍👧") == ["무색", " 페트", "병은", " ", "👩", "\u200d", "👧"]
