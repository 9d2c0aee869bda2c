"""What is heard of a user's call, and how its end is judged."""

import json
from asyncio import CancelledError
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from sluice.application.model_calls import ToolCallPiece
from sluice.domain.errors import (
    AnswerTooLarge,
    UpstreamError,
    UpstreamRateLimited,
)
from sluice.domain.events import Usage
from sluice.infrastructure.llm.genai import CallSpan
from sluice.infrastructure.openai_sdk.answers import StreamedAnswer, UserCall, whole
from sluice.infrastructure.openai_sdk.chunks import Dicts, OneText
from sluice.infrastructure.openai_sdk.failures import CutAnswer, NamedFailure, NoAnswer
from tests.doubles import RecordingTeller

REQUEST = httpx2.Request("POST", "http://x")
COST = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Asked:
    """A call, and the body that answers it."""

    def __init__(
        self, *, responses: bool = False, kind: str = "", encoding: str = "", **options: Any
    ) -> None:
        self.teller = RecordingTeller()
        self.call = UserCall(self.teller, responses, **options)
        given = {"content-type": kind, "content-encoding": encoding}
        headers = {name: value for name, value in given.items() if value}
        stream: Any = SimpleNamespace(
            response=httpx2.Response(200, headers=headers, request=REQUEST),
            _client=SimpleNamespace(_process_response_data=lambda data, **_: data),
            _cast_to=ResponseStreamEvent if responses else ChatCompletionChunk,
        )
        self.answer = StreamedAnswer(self.call, stream)

    def reads(self, *events: object) -> list[Any]:
        given = [each if isinstance(each, str) else json.dumps(each) for each in events]
        data = "".join(f"data: {each}\n\n" for each in given)
        return list(self.answer.feed(data.encode()))

    def ends(self) -> list[Any]:
        return list(self.answer.end())


def chunk(delta: Any = None, finish_reason: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    given = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**given, "choices": [choice], **more}


A, STOP = chunk({"content": "a"}), chunk({}, "stop")


def test_each_thing_said_is_told_and_counts_as_said() -> None:
    asked = Asked()
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
    said = []
    for event in (
        A,
        A,
        chunk({"reasoning": "hm"}),
        chunk({"tool_calls": [call, call]}),
        chunk({"role": "assistant"}),
        STOP,
    ):
        assert len(asked.reads(event)) == 1
        said.append(asked.answer.said)
    assert said == [1, 2, 3, 5, 5, 5]
    assert (asked.teller.said, asked.teller.reasoned) == (["a", "a"], ["hm"])
    assert asked.teller.tool_calls == [ToolCallPiece(0, "c", "f", "{")] * 2


def test_what_comes_behind_the_end_that_is_said_is_not_read() -> None:
    asked = Asked()
    assert not asked.answer.done
    assert len(asked.reads(A, "[DONE] ", A)) == 1
    assert asked.answer.done
    assert asked.teller.said == ["a"]


def test_an_answer_is_finished_by_its_finish_reason() -> None:
    asked = Asked()
    asked.reads(A)
    assert not asked.answer.finished
    asked.reads(STOP)
    assert asked.answer.finished
    assert asked.ends() == []


@pytest.mark.parametrize("text", ["abc", "가"])
def test_an_answer_may_be_so_long_in_bytes_and_no_longer(text: str) -> None:
    asked = Asked(max_answer=3)
    asked.reads(chunk({"content": text}))
    with pytest.raises(AnswerTooLarge):
        asked.reads(A)
    with pytest.raises(AnswerTooLarge):
        Asked(max_answer=2).reads(chunk({"content": text}))


def test_what_is_held_back_comes_at_the_end() -> None:
    asked = Asked(chunks=OneText)
    assert asked.reads(A, A, STOP) == []
    assert asked.ends() == [chunk({"content": "aa"}, "stop")]
    cut = Asked(chunks=OneText)
    cut.reads(A)
    left = cut.answer.end()
    assert next(left) == A
    with pytest.raises(CutAnswer):
        next(left)


@pytest.mark.parametrize("options", [{}, {"chunks": Dicts}])
def test_half_a_character_waits_for_the_other_or_the_end(options: dict[str, Any]) -> None:
    half, other = chunk({"content": "a\ud83d"}), chunk({"content": "\ude00"})
    asked = Asked(**options)
    assert asked.reads(half) == []
    assert len(asked.reads(other)) == 2
    assert asked.teller.said == ["a", "😀"]
    assert asked.reads(half) == []
    assert asked.reads(A)[0] == half
    assert asked.reads(half) == []
    assert asked.ends() == [half]
    assert asked.teller.said == ["a", "😀", "a"]


def test_langchain_makes_its_message_of_whatever_choice_begins_a_chunk() -> None:
    second = {**A, "choices": [{**A["choices"][0], "index": 1}]}
    heard = []
    for chunks in (OneText, Dicts):
        asked = Asked(chunks=chunks)
        asked.reads(second)
        heard.append(asked.teller.said)
    assert heard == [["a"], []]


@pytest.mark.parametrize("kind", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
def test_a_body_without_a_finish_reason_is_a_cut_answer(kind: str) -> None:
    for events in ([A], []):
        asked = Asked(kind=kind)
        asked.reads(*events)
        with pytest.raises(CutAnswer) as raised:
            asked.ends()
        assert raised.value.request is REQUEST


@pytest.mark.parametrize("kind", ["text/html", ""])
def test_a_body_without_an_event_is_no_answer_by_another_name(kind: str) -> None:
    with pytest.raises(NoAnswer) as raised:
        Asked(kind=kind).ends()
    assert raised.value.request is REQUEST
    asked = Asked(kind=kind)
    asked.reads(A)
    with pytest.raises(CutAnswer):
        asked.ends()


def test_a_body_in_an_encoding_that_was_not_asked_for_is_no_answer() -> None:
    with pytest.raises(NoAnswer):
        Asked(kind="text/event-stream", encoding="zstd").ends()


def test_a_failure_that_the_upstream_names_is_one_also_behind_a_finish_reason() -> None:
    asked = Asked()
    asked.reads(A, chunk({}, "error"))
    with pytest.raises(NamedFailure) as raised:
        asked.ends()
    assert (raised.value.request, raised.value.body) == (REQUEST, None)


def test_what_was_not_understood_proves_no_cut() -> None:
    asked = Asked()
    asked.reads({"choices": 3})
    assert asked.ends() == []


def test_a_calls_end_is_told_once_with_its_cost_and_reason() -> None:
    asked = Asked()
    asked.reads(A, STOP, {**chunk(usage=COST), "choices": []})
    assert asked.teller.ends == []
    asked.answer.close()
    asked.answer.close()
    assert asked.teller.ends == [(Usage(1, 2, 3), "stop")]


CUT = CutAnswer(request=REQUEST)
FINISH, OUTPUT = "gen_ai.response.finish_reasons", "gen_ai.usage.output_tokens"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, None),
        (CUT, "upstream_truncated"),
        (ValueError("secret"), "ValueError"),
        (CancelledError(), None),
    ],
)
def test_a_calls_span_tells_its_cost_and_by_which_code_it_failed(
    spans: InMemorySpanExporter, error: Any, told: str | None
) -> None:
    asked = Asked(span=CallSpan("m", "new"))
    asked.reads({**STOP, "usage": COST})
    asked.answer.close(error)
    asked.answer.close(CUT)  # what comes of it later is told nobody
    (span,) = spans.get_finished_spans()
    given = dict(span.attributes or {})
    assert (given[OUTPUT], given[FINISH]) == (2, ("stop",))
    assert (span.status.description, given.get("error.type")) == (told, told)


def test_a_call_of_the_responses_api_is_read_as_one() -> None:
    asked = Asked(responses=True)
    asked.reads({"type": "response.output_text.delta", "delta": "a"})
    assert asked.teller.said == ["a"]


def completion(*choices: Any, **more: Any) -> ChatCompletion:
    given = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    return ChatCompletion.construct(**given, choices=list(choices), **more)  # type: ignore[arg-type]


def choice(text: str = "a", finish_reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish_reason, "message": {"content": text, **more}}


def judged(answer: object, *, over: bool = False, **options: Any) -> RecordingTeller:
    asked = Asked(**options)
    asked.call.over = over
    whole(asked.call, answer, REQUEST)
    return asked.teller


def test_a_whole_answers_thoughts_are_told_and_its_cost_but_no_text() -> None:
    teller = judged(completion(choice(reasoning="hm"), usage=COST))
    assert (teller.said, teller.reasoned) == ([], ["hm"])
    assert teller.ends == [(Usage(1, 2, 3), "stop")]


def test_an_answer_that_is_parsed_once_more_is_told_once() -> None:
    teller = judged(completion(choice(reasoning="hm")), over=True)
    assert (teller.reasoned, teller.ends) == ([], [])


def test_an_answer_without_a_cost_or_a_choice_has_none() -> None:
    assert judged(completion(choice())).ends == [(None, "stop")]
    assert judged(completion(choice(), usage=3)).ends == [(None, "stop")]
    assert judged(completion()).ends == [(None, None)]


@pytest.mark.parametrize("answer", ["<html>", {"choices": []}, completion(error={"code": 1})])
def test_what_is_no_object_of_the_api_is_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer) as raised:
        judged(answer)
    assert raised.value.request is REQUEST


def test_an_error_that_is_nothing_is_none() -> None:
    assert judged(completion(choice(), error=None)).ends == [(None, "stop")]


def test_an_answer_without_a_list_of_choices_is_none() -> None:
    with pytest.raises(NoAnswer) as raised:
        judged(ChatCompletion.construct(id="1"))
    assert raised.value.request is REQUEST


@pytest.mark.parametrize("text", ["abc", "가", "\ud800ab"])
def test_a_whole_answer_may_be_so_long_in_bytes_and_no_longer(text: str) -> None:
    judged(completion(choice(text)), max_answer=3)
    with pytest.raises(AnswerTooLarge):
        judged(completion(choice(text)), max_answer=2)


def test_each_choice_needs_a_finish_reason_that_is_no_failure() -> None:
    with pytest.raises(CutAnswer) as cut:
        judged(completion(choice(), choice(finish_reason=None)))
    with pytest.raises(NamedFailure) as failed:
        judged(completion(choice(), choice(finish_reason="error")))
    assert (cut.value.request, failed.value.request) == (REQUEST, REQUEST)
    assert failed.value.body is None


def test_a_choice_says_what_it_failed_of() -> None:
    with pytest.raises(NamedFailure) as raised:
        judged(completion({**choice(), "error": {"code": 429}}))
    assert type(raised.value.__cause__) is UpstreamRateLimited


def response(status: str, **more: Any) -> Response:
    return Response.construct(id="r", **{"status": status, "output": [], **more})


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
INCOMPLETE = {"incomplete_details": {"reason": "max_output_tokens"}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response("completed"), "stop"),
        (response("completed", output=[CALL]), "tool_calls"),
        (response("completed", output=None), "stop"),
        (response("incomplete", **INCOMPLETE), "length"),
        (response("incomplete"), None),
        (Response.construct(id="r"), None),
    ],
)
def test_a_whole_response_ends_in_the_words_of_chat_completions(
    answer: Response, reason: str | None
) -> None:
    assert judged(answer, responses=True).ends == [(None, reason)]


def test_a_response_that_failed_is_counted_and_no_answer() -> None:
    cost = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    asked = Asked(responses=True)
    with pytest.raises(NamedFailure) as raised:
        whole(asked.call, response("failed", usage=cost), REQUEST)
    assert asked.teller.ends == [(Usage(1, 2, 3), None)]
    assert (raised.value.request, raised.value.body) == (REQUEST, None)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (None, UpstreamError),
        ({"code": "rate_limit_exceeded", "message": "no"}, UpstreamRateLimited),
        ("quota", UpstreamRateLimited),
    ],
)
def test_a_response_says_what_it_failed_of(error: object, failure: type[UpstreamError]) -> None:
    with pytest.raises(NamedFailure) as raised:
        judged(response("failed", error=error), responses=True)
    assert type(raised.value.__cause__) is failure


class Odd(BaseModel):
    """Of another kind than the API's objects, which have all their fields."""


class OddFailure(Odd):
    status: str = "failed"


def test_an_object_may_lack_any_field() -> None:
    with pytest.raises(NoAnswer):
        judged(Odd())
    with pytest.raises(CutAnswer):
        judged(completion(SimpleNamespace()))
    with pytest.raises(NamedFailure):
        judged(OddFailure(), responses=True)
    assert judged(Odd(), responses=True).ends == [(None, None)]
    untyped = Response.construct(status="completed").model_copy(
        update={"output": [SimpleNamespace()]}
    )
    assert judged(untyped, responses=True).ends == [(None, "stop")]


def test_a_whole_responses_thoughts_are_told_and_its_text_is_bounded() -> None:
    thought = {"type": "reasoning", "id": "i", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert judged(response("completed", output=[thought]), responses=True).reasoned == ["hm"]
    text = {"type": "output_text", "text": "abc", "annotations": []}
    message = {"type": "message", "id": "i", "role": "assistant", "content": [text]}
    with pytest.raises(AnswerTooLarge):
        judged(response("completed", output=[message]), responses=True, max_answer=2)


def test_only_data_is_read_as_the_sdk_does() -> None:
    asked = Asked()
    named = b"event: error\ndata: " + json.dumps(A).encode() + b"\n\n"
    assert len(list(asked.answer.feed(named))) == 1
    assert list(asked.answer.feed(b'{"error": {"message": "no"}}\n\n')) == []
    asked.reads(STOP)
    assert asked.ends() == []
