"""How a model is brought to answer in a structure, and what is found in what it says."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel, Field

from sluice.domain.errors import CutOutput, UnusableOutput, UpstreamError
from sluice.domain.ports import ToolCall
from sluice.infrastructure.llm.answers import (
    Answer,
    Output,
    json_object,
    messages_of,
    response_format,
    tool_call,
    validated,
)
from sluice.infrastructure.llm.decoding import Delta, ToolCallPart
from sluice.infrastructure.llm.json_text import holds_json, json_texts
from sluice.infrastructure.llm.refusals import RESPONSE_FORMAT, STREAM_OPTIONS, TOOLS, refuses
from sluice.infrastructure.llm.structuring import Messages, structured


class City(BaseModel):
    """A place."""

    name: str = Field(description="wie sie heißt")


GOOD = '{"name": "Ulm"}'
ULM = City(name="Ulm")
ASKED: Messages = [{"role": "user", "content": "Where?"}]


def refusal(message: str = "", status: int = 400, **body: Any) -> UpstreamError:
    """The error of a call that a server refused."""
    response = httpx2.Response(status, request=httpx2.Request("POST", "http://x"))
    cause = openai.APIStatusError(message, response=response, body={"message": message, **body})
    error = UpstreamError()
    error.__cause__ = cause
    return error


class Model:
    """Answers each way as told, with an output or an error; keeps what it was asked."""

    def __init__(self, *answers: Output | UpstreamError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[Mapping[str, Any]], Mapping[str, Any]]] = []

    async def ask(self, messages: Messages, options: Mapping[str, Any]) -> Output:
        self.asked.append((list(messages), options))
        answer = self.answers.pop(0)
        if isinstance(answer, UpstreamError):
            raise answer
        return answer

    @property
    def ways(self) -> list[str]:
        return ["+".join(options) for _, options in self.asked]


def out(text: str = "", arguments: str | None = None, reason: str | None = "stop") -> Output:
    return Output(text, arguments, reason)


FORMAT, TOOL, WORDS = "response_format", "tools+tool_choice", ""
PROSE = out("I cannot say.")


async def test_a_format_is_asked_for_first_and_is_enough() -> None:
    model, unheeded = Model(out(GOOD)), set[str]()
    assert await structured(City, ASKED, model.ask, unheeded) == ULM
    assert model.asked == [(ASKED, {"response_format": response_format(City)})]
    assert unheeded == set()


async def test_where_a_format_is_ignored_a_tool_is_asked_for_and_that_is_remembered() -> None:
    model, unheeded = Model(PROSE, out("", GOOD), out("", GOOD)), set[str]()
    assert await structured(City, ASKED, model.ask, unheeded) == ULM
    assert unheeded == {RESPONSE_FORMAT}
    assert await structured(City, ASKED, model.ask, unheeded) == ULM
    assert model.ways == [FORMAT, TOOL, TOOL]
    messages, options = model.asked[1]
    assert messages == ASKED
    [tool] = options["tools"]
    assert tool["type"] == "function"
    assert tool["function"]["name"] == "City"
    assert tool["function"]["parameters"]["required"] == ["name"]
    assert "strict" not in tool["function"]
    assert options["tool_choice"] == {"type": "function", "function": {"name": "City"}}


async def test_a_tool_is_named_as_the_api_allows() -> None:
    odd: Any = type("A b", (City,), {})
    model = Model(out("", GOOD))
    await structured(odd, ASKED, model.ask, {RESPONSE_FORMAT})
    assert model.asked[0][1]["tools"][0]["function"]["name"] == "A_b"
    assert model.asked[0][1]["tool_choice"]["function"]["name"] == "A_b"


@pytest.mark.parametrize("system", [None, "Be brief."])
async def test_where_both_are_refused_it_is_asked_for_in_words(system: str | None) -> None:
    model, unheeded = Model(refusal(), refusal(), out(GOOD)), set[str]()
    told = [] if system is None else [{"role": "system", "content": system}]
    assert await structured(City, [*told, *ASKED], model.ask, unheeded) == ULM
    assert unheeded == {RESPONSE_FORMAT, TOOLS}
    assert model.ways == [FORMAT, TOOL, WORDS]
    [first, *rest], options = model.asked[2]
    assert (rest, options) == (ASKED, {})
    assert first["role"] == "system"
    assert first["content"].startswith("Answer" if system is None else "Be brief.\n\nAnswer")
    schema = json.dumps(City.model_json_schema(), ensure_ascii=False)
    assert first["content"].endswith(f"\n{schema}")


async def test_what_is_known_not_to_be_heeded_is_not_tried() -> None:
    model = Model(out(GOOD))
    assert await structured(City, ASKED, model.ask, {RESPONSE_FORMAT, TOOLS}) == ULM
    assert model.ways == [WORDS]


async def test_what_is_refused_is_remembered_only_once_another_way_is_taken() -> None:
    model, unheeded = Model(refusal(), refusal(), refusal()), set[str]()
    with pytest.raises(UpstreamError):
        await structured(City, ASKED, model.ask, unheeded)
    assert unheeded == set()
    model = Model(refusal(), PROSE, PROSE)
    with pytest.raises(UnusableOutput):
        await structured(City, ASKED, model.ask, unheeded)
    assert unheeded == {RESPONSE_FORMAT}, "refused, and the tool was taken though it did not help"


async def test_another_failure_is_no_refusal() -> None:
    model = Model(UpstreamError())
    with pytest.raises(UpstreamError):
        await structured(City, ASKED, model.ask, set())
    assert model.ways == [FORMAT]


@pytest.mark.parametrize("answer", [out("", "{"), out('{"other": 1}'), out('["Ulm"'), out('"Ulm"')])
async def test_a_model_that_tried_in_vain_is_not_asked_again(answer: Output) -> None:
    model = Model(answer)
    with pytest.raises(UnusableOutput):
        await structured(City, ASKED, model.ask, set())
    assert model.ways == [FORMAT]


async def test_an_output_that_was_cut_is_not_asked_for_again() -> None:
    model = Model(out('{"name": "U', reason="length"))
    with pytest.raises(CutOutput):
        await structured(City, ASKED, model.ask, set())


@pytest.mark.parametrize("parameter", [STREAM_OPTIONS, RESPONSE_FORMAT, TOOLS])
def test_a_refusal_without_a_reason_may_be_of_any_parameter(parameter: str) -> None:
    assert refuses(refusal(), parameter)
    assert not refuses(UpstreamError(), parameter)
    assert not refuses(refusal(status=500), parameter)
    assert not refuses(refusal(status=401), parameter)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (refusal("Unknown parameter: STREAM_OPTIONS"), {STREAM_OPTIONS}),
        (refusal("include_usage"), {STREAM_OPTIONS}),
        (refusal("response_format is no field"), {RESPONSE_FORMAT}),
        (refusal("JSON mode is off", 404), {RESPONSE_FORMAT}),
        (refusal("json_schema", 422), {RESPONSE_FORMAT}),
        (refusal("temperature is too high"), set()),
        (refusal("no", param="seed"), set()),
        (refusal("not_found", 404), set()),
        (refusal("unsupported", 404), {STREAM_OPTIONS, RESPONSE_FORMAT}),
        (refusal("not found", 404), set()),
        (refusal("extra inputs are not permitted", 422), {STREAM_OPTIONS, RESPONSE_FORMAT}),
        (refusal("it is not supported", 422), {STREAM_OPTIONS, RESPONSE_FORMAT}),
        (refusal("no", 422), set()),
    ],
)
def test_a_refusal_with_a_reason_is_of_what_it_names(
    error: UpstreamError, refused: set[str]
) -> None:
    assert {each for each in (STREAM_OPTIONS, RESPONSE_FORMAT) if refuses(error, each)} == refused
    assert refuses(error, TOOLS), "which are asked for only where a format did not help"


def test_a_refusal_may_have_no_body() -> None:
    error = refusal("stream_options")
    assert isinstance(error.__cause__, openai.APIStatusError)
    error.__cause__.body = None
    assert refuses(error, STREAM_OPTIONS)
    assert not refuses(error, RESPONSE_FORMAT)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"<think>{{}} hm</think>\n{GOOD}",
        f"<REASONING>\nhm\n</REASONING>{GOOD}",
        f"hm {{}}</thought>{GOOD}",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"first ```{{}}``` then ```json\n{GOOD}\n```",
        f"It is {GOOD}, I think.",
        f'Draft: {{"name": 1}}. Final: {GOOD}',
        f"{{ no, {GOOD}",
        f"\ufeff{GOOD}",
        "{" * 5_000 + GOOD,
        "{" + GOOD,
    ],
)
def test_json_is_found_in_what_a_model_says(text: str) -> None:
    assert validated(City, text, "stop") == ULM


def test_the_whole_text_is_tried_first_and_the_last_object_before_the_others() -> None:
    text = 'a {"x": 1} b {"y": {"z": 2}}'
    assert list(json_texts(text)) == [text, text, '{"y": {"z": 2}}', '{"x": 1}']
    assert list(json_texts("\ufeff[1]"))[1:] == ["[1]"]
    fenced = "```json\n1\n``` ``` 2 ```"
    assert list(json_texts(f"<think>```0```</think> {fenced}"))[1:] == [fenced, "2", "1"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("I cannot say.", False),
        ("", False),
        ("<think>{}</think> no", False),
        ("so: {", True),
        (" [1", True),
        ("<think>hm</think>[1", True),
        ('"a', True),
        ("no [1]", False),
    ],
)
def test_prose_is_no_attempt_at_json(text: str, holds: bool) -> None:
    assert holds_json(text) is holds


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS"])
def test_what_was_cut_is_unusable_because_of_that(reason: str) -> None:
    for make in (lambda: validated(City, "{", reason), lambda: json_object("{", reason)):
        with pytest.raises(CutOutput):
            make()
    with pytest.raises(CutOutput):
        json_object("[]", reason)


@pytest.mark.parametrize("text", ["{", "[]", "1", "", '{"a": "\\ud800"}', "[" * 100_000])
def test_arguments_that_are_no_object_are_unusable(text: str) -> None:
    with pytest.raises(UnusableOutput):
        json_object(text, "stop")


def test_a_tool_that_takes_nothing_may_be_called_without_arguments() -> None:
    for nothing in ("", " ", "null", "{}"):
        assert tool_call("f", nothing, None) == ToolCall("f", {})
    for given in ('{"a": [1]}', '{}{"a": [1]}'):
        assert tool_call("f", given, None) == ToolCall("f", {"a": [1]})


def part(number: int, name: str | None, arguments: str) -> Delta:
    return Delta(tool_calls=(ToolCallPart(number, None, name, arguments),))


def test_an_answer_is_its_joined_deltas() -> None:
    answer = Answer()
    for delta in (
        Delta("a"),
        part(2, "g", "{}"),
        part(1, "f", '{"x"'),
        Delta("b", "length"),
        part(1, None, ":1}"),
        Delta(reasoning="hm"),
    ):
        answer.add(delta)
    answer.say("c")
    assert answer.text == "abc"
    assert answer.output() == Output("abc", '{"x":1}', "length")
    assert answer.tool_call() == ToolCall("f", {"x": 1})
    answer.add(part(1, None, "{"))
    with pytest.raises(CutOutput):
        answer.tool_call()


def test_an_answer_without_a_call_has_none() -> None:
    answer = Answer()
    assert (answer.text, answer.output(), answer.tool_call()) == ("", Output("", None, None), None)
    answer.add(Delta("a", "stop"))
    assert answer.output() == Output("a", None, "stop")


def test_a_prompt_is_a_text_or_messages_behind_the_system() -> None:
    user = {"role": "user", "content": "Where?"}
    assert messages_of("Where?", None) == [user]
    assert messages_of([user], "Be brief.") == [{"role": "system", "content": "Be brief."}, user]
    assert messages_of([user], "")[0] == {"role": "system", "content": ""}


def test_a_format_is_named_as_the_api_allows() -> None:
    odd = type("A b[ü]" + "x" * 80, (City,), {"__doc__": "A place."})
    told = response_format(odd)
    assert told["type"] == "json_schema"
    assert told["json_schema"]["name"] == ("A_b___" + "x" * 80)[:64]
    assert told["json_schema"]["strict"] is True
    assert told["json_schema"]["schema"]["additionalProperties"] is False
