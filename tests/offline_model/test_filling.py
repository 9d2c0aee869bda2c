"""Schemas filled and tools called by the rules, asked through the protocol."""

import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageFunctionToolCall

INTENTS = """
- greeting: hi, hello, 안녕
- how_to: how do I, resume, 어떻게, 이어받
- troubleshooting: error, not working, 안 나와, 오류
default: how_to
"""


def chat(system: str, message: str) -> Any:
    return [{"role": "system", "content": system}, {"role": "user", "content": message}]


async def fill(client: AsyncOpenAI, schema: object, message: str, system: str = "x") -> Any:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    whole = await client.chat.completions.create(
        model="m", messages=chat(system, message), response_format=wanted
    )
    return json.loads(whole.choices[0].message.content or "")


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
