"""What is heard of a user's call, and how its end is judged."""

import json
from asyncio import CancelledError
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice.application.model_calls import ToolCallPiece
from sluice.domain.errors import AnswerTooLarge, UpstreamError, UpstreamRateLimited
from sluice.domain.events import Usage
from sluice.infrastructure.llm.genai import CallSpan
from sluice.infrastructure.openai_sdk.answers import StreamedAnswer, UserCall
from sluice.infrastructure.openai_sdk.chunks import Chunks, Dicts, OneText
from sluice.infrastructure.openai_sdk.failures import (
    CutAnswer,
    NamedFailure,
    NoAnswer,
    classify,
)
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


def test_a_page_is_no_answer_under_the_name_of_a_stream_either() -> None:
    asked = Asked(kind="text/event-stream")
    for read in (b" <!DOCTYPE html>", b"\n\nSorry"):
        assert list(asked.answer.feed(read)) == []
    with pytest.raises(NoAnswer):
        asked.ends()
    asked = Asked(kind="text/event-stream")
    asked.reads(A)
    assert list(asked.answer.feed(b"<p>\n\n")) == []
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


def test_a_failure_of_the_responses_api_comes_under_its_own_name() -> None:
    error = {"code": "rate_limit_exceeded", "message": "no"}
    failed = {"type": "response.failed", "response": {"status": "failed", "error": error}}
    asked = Asked(responses=True)
    body = f"event: response.failed\ndata: {json.dumps(failed)}\n\n"
    assert len(list(asked.answer.feed(body.encode()))) == 1, "its caller may act on it"
    with pytest.raises(NamedFailure) as raised:
        asked.ends()
    assert isinstance(raised.value.__cause__, UpstreamRateLimited)


def test_a_call_of_the_responses_api_is_read_as_one() -> None:
    asked = Asked(responses=True)
    asked.reads({"type": "response.output_text.delta", "delta": "a"})
    assert asked.teller.said == ["a"]


@pytest.mark.parametrize("kind", [Chunks, Dicts, OneText])
@pytest.mark.parametrize(
    "body",
    [
        b"event: error\ndata: x\n\n",
        b'error: {"code": 400}\n\n',
        b'{"error": {"message": "no"}}\n\n',
        b'data: {"object": "error", "message": "no"}\n\n',
        b'data: [{"error": {"message": "no"}}]\n\n',
        b'data: {"detail": "no"}\n\n',
    ],
)
def test_a_failure_beside_the_protocol_is_raised_at_once(body: bytes, kind: type[Chunks]) -> None:
    for before in ([], [A], [A, STOP]):
        asked = Asked(chunks=kind)
        asked.reads(*before)
        with pytest.raises(openai.APIError) as raised:
            list(asked.answer.feed(body))
        assert isinstance(classify(raised.value), UpstreamError)
        assert raised.value.request is REQUEST


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_an_event_without_data_is_none(blank: str) -> None:
    asked = Asked()
    assert len(asked.reads(blank, A, blank, STOP)) == 2
    assert asked.ends() == []


@pytest.mark.parametrize("rubbish", ["bye", "{", '{"usage": NaN}', "[]", "null"])
def test_rubbish_behind_a_finish_reason_is_not_given_on(rubbish: str) -> None:
    asked = Asked()
    assert len(asked.reads(A, STOP, rubbish, chunk({"content": "b"}))) == 3
    assert asked.teller.said == ["a", "b"]
    assert asked.ends() == []


def test_nor_is_it_as_the_rest_of_a_body() -> None:
    asked = Asked()
    asked.reads(A, STOP)
    assert list(asked.answer.feed(b'data: "rubbish"')) == []
    assert asked.ends() == []


def test_rubbish_before_a_finish_reason_leaves_all_to_the_caller() -> None:
    asked = Asked()
    given = asked.reads('"rubbish"', STOP, '"more"')
    assert (given[0], given[2]) == ("rubbish", "more")
    assert asked.ends() == []


def test_an_end_alone_is_a_cut_answer_under_any_name() -> None:
    asked = Asked(kind="text/plain")
    assert asked.reads(" [DONE]") == []
    with pytest.raises(CutAnswer):
        asked.ends()


@pytest.mark.parametrize("end", ["[DONE]", " [DONE] ", "[DONE] "])
def test_the_end_may_be_spelt_with_spaces(end: str) -> None:
    asked = Asked()
    assert len(asked.reads(A, STOP, end, A)) == 2
    assert asked.answer.done


@pytest.mark.parametrize(
    ("kind", "given"), [(Chunks, [A, STOP, "u"]), (Dicts, [A, STOP]), (OneText, [])]
)
def test_a_usage_that_langchain_could_not_count_with_is_not_given_to_it(
    kind: type[Chunks], given: list[Any]
) -> None:
    usage = {**chunk(), "choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": 1}}
    asked = Asked(chunks=kind)
    assert len(asked.reads(A, STOP, usage)) == len(given)
    assert all(not each.get("usage") for each in asked.ends())


@pytest.mark.parametrize(
    ("rest", "said", "cut"),
    [
        (f"data: {json.dumps(STOP)}", ["a"], False),
        (f"data: {json.dumps(STOP)}\n", ["a"], False),
        (f"data: {json.dumps(chunk({'content': 'b'}, 'stop'))}", ["a", "b"], False),
        (f"data: {json.dumps(STOP)[:-1]}", ["a"], True),
        ("data: [DONE]", ["a"], True),
    ],
)
def test_an_event_that_lacks_only_its_empty_line_counts(
    rest: str, said: list[str], cut: bool
) -> None:
    asked = Asked()
    asked.reads(A)
    assert list(asked.answer.feed(rest.encode())) == []
    with pytest.raises(CutAnswer) if cut else nullcontext():
        assert len(asked.ends()) == 1
    assert asked.teller.said == said


def test_behind_the_end_that_is_said_no_rest_counts() -> None:
    asked = Asked()
    asked.reads(A, STOP)
    list(asked.answer.feed(f"data: [DONE]\n\ndata: {json.dumps(A)}".encode()))
    assert asked.ends() == []
    assert asked.teller.said == ["a"]


def test_a_finish_reason_is_believed_until_more_is_said() -> None:
    asked, both = Asked(), chunk({"content": "a"}, "stop")
    over = []
    for event in (A, both, both, both, STOP, A, chunk({"role": "assistant"}), STOP):
        asked.reads(event)
        over.append(asked.answer.over)
    assert over == [False, True, False, False, True, False, True, True]


def test_a_thought_in_the_content_counts_as_said_and_is_left_to_the_caller() -> None:
    asked = Asked()
    asked.reads(chunk({"content": [{"type": "thinking", "thinking": "hm"}]}))
    assert (asked.answer.said, asked.teller.reasoned) == (1, [])
